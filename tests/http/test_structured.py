"""Answers that must follow a structure. The checkpoint is random: only the structure makes them what they are."""

import json
import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.http.asking import chunks, post, refused, text

ENOUGH = {"max_tokens": 200}
SCHEMA = {
    "type": "object",
    "properties": {"paid": {"type": "boolean"}, "count": {"type": "integer", "minimum": 1, "maximum": 12}},
    "required": ["paid", "count"],
    "additionalProperties": False,
}


def schema_format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "receipt", "schema": schema, "strict": True}}


@pytest.mark.parametrize(
    "asked",
    [
        {"response_format": schema_format(SCHEMA)},
        {"structured_outputs": {"json": SCHEMA}},
        {"guided_json": SCHEMA},
        {"guided_json": json.dumps(SCHEMA)},
    ],
    ids=["response_format", "structured_outputs", "guided_json", "guided_json as text"],
)
@pytest.mark.parametrize("temperature", [0, 1.5])
def test_an_answer_follows_its_schema(client: TestClient, asked: dict[str, Any], temperature: float) -> None:
    body = post(client, **asked, temperature=temperature, seed=3, **ENOUGH)
    answer = json.loads(text(body))
    assert isinstance(answer["paid"], bool)
    assert 1 <= answer["count"] <= 12
    assert body["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "asked", [{"response_format": {"type": "json_object"}}, {"structured_outputs": {"json_object": True}}]
)
def test_json_object_begins_an_object(client: TestClient, asked: dict[str, Any]) -> None:
    assert text(post(client, **asked, max_tokens=20)).startswith("{")


@pytest.mark.parametrize("field", ["guided_regex", "structured_outputs"])
def test_an_answer_follows_a_regular_expression(client: TestClient, field: str) -> None:
    pattern = r"[A-C]{2}-[0-9]{3}"
    asked: dict[str, Any] = {field: pattern} if field == "guided_regex" else {field: {"regex": pattern}}
    assert re.fullmatch(pattern, text(post(client, **asked, **ENOUGH)))


@pytest.mark.parametrize("field", ["guided_choice", "structured_outputs"])
def test_an_answer_is_one_of_the_choices(client: TestClient, field: str) -> None:
    choices = ["receipt", 'an "odd" one\\', "发票"]
    asked: dict[str, Any] = {field: choices} if field == "guided_choice" else {field: {"choice": choices}}
    answers = {text(post(client, **asked, temperature=2, seed=seed, **ENOUGH)) for seed in range(8)}
    assert answers <= set(choices)


@pytest.mark.parametrize("field", ["guided_grammar", "structured_outputs"])
def test_an_answer_follows_a_grammar(client: TestClient, field: str) -> None:
    grammar = 'start: "total " NUMBER\nNUMBER: /[0-9]{2}/'
    asked: dict[str, Any] = {field: grammar} if field == "guided_grammar" else {field: {"grammar": grammar}}
    assert re.fullmatch(r"total \d\d", text(post(client, **asked, **ENOUGH)))


def test_a_cut_json_says_length(client: TestClient) -> None:
    body = post(client, guided_json=SCHEMA, max_tokens=5)
    assert body["choices"][0]["finish_reason"] == "length"
    with pytest.raises(ValueError, match=r"."):
        json.loads(text(body))


def test_a_structured_answer_is_streamed_as_it_is(client: TestClient) -> None:
    pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks(client, guided_json=SCHEMA, **ENOUGH)]
    assert "".join(pieces) == text(post(client, guided_json=SCHEMA, **ENOUGH))


def test_no_blanks_stand_between_the_parts_of_a_json(client: TestClient) -> None:
    bias = {str(token): 100 for token in client.post("/tokenize", json={"prompt": " \n\t"}).json()["tokens"]}
    answer = text(post(client, guided_json=SCHEMA, logit_bias=bias, **ENOUGH))
    assert answer == json.dumps(json.loads(answer), separators=(",", ":"))


def test_structured_and_free_answers_share_a_batch(client: TestClient) -> None:
    body = post(client, n=4, guided_json=SCHEMA, temperature=1.5, seed=1, **ENOUGH)
    for choice in body["choices"]:
        assert set(json.loads(choice["message"]["content"])) == {"paid", "count"}


def test_the_text_format_is_no_structure(client: TestClient) -> None:
    assert text(post(client, response_format={"type": "text"})) == text(post(client))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": schema_format({"type": "blah"})}, "response_format"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_regex": "((("}, "guided_regex"),
        ({"guided_grammar": 'start: "a" | missing'}, "guided_grammar"),
        ({"guided_choice": []}, "guided_choice"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs.choice"),
        ({"guided_regex": "a", "response_format": {"type": "json_object"}}, "response_format"),
        ({"guided_regex": "a", "ignore_eos": True}, "ignore_eos"),
        ({"guided_regex": "a", "min_tokens": 2}, "min_tokens"),
    ],
)
def test_a_structure_that_cannot_be_is_refused_by_name(client: TestClient, fields: dict[str, Any], param: str) -> None:
    assert refused(client, **fields) == param
