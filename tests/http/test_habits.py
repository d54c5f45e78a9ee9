"""Habits of clients: slashes, HEAD, compressed bodies, nulls, data URIs in every dress."""

import base64
import gzip
import json
import zlib
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from tests.http.asking import chunks, post, refused, text
from tests.payloads import chat, data_uri, image_part, user
from tests.prompts import noise_image

IMAGE = noise_image(60, 40)
URI = data_uri(IMAGE)
PREFIX, PAYLOAD = URI.split(",", 1)
SAFE = PAYLOAD.translate(str.maketrans("+/", "-_"))


def asking(uri: str) -> list[dict[str, Any]]:
    return user({"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": "OCR:"})


@pytest.mark.parametrize(
    "uri",
    [
        f"{PREFIX},{PAYLOAD.rstrip('=')}",
        f"{PREFIX},{PAYLOAD}==",
        f"{PREFIX},{SAFE}",
        f"{PREFIX},{quote(PAYLOAD, safe='')}",
        f"  {PREFIX}, {PAYLOAD[:30]}\n{PAYLOAD[30:]} ",
        f"DATA:IMAGE/PNG;BASE64,{PAYLOAD}",
        f"{PREFIX},{PREFIX},{PAYLOAD}",
        PAYLOAD,
    ],
    ids=["no padding", "surplus padding", "URL-safe", "percent-encoded", "blanks", "case", "doubled prefix", "bare"],
)
def test_a_data_uri_is_read_however_it_is_dressed(client: TestClient, uri: str) -> None:
    assert text(post(client, messages=asking(uri), max_tokens=8)) == text(
        post(client, messages=asking(URI), max_tokens=8)
    )


def test_bare_base64_that_is_no_file_is_told_what_is_missing(client: TestClient) -> None:
    bare = base64.b64encode(b"only words " * 20).decode()
    answer = client.post("/v1/chat/completions", json={"messages": asking(bare)})
    assert answer.status_code == 400
    assert "data:image/png;base64," in answer.json()["error"]["message"]


def test_null_means_the_default_where_clients_write_it(client: TestClient) -> None:
    part = image_part(IMAGE)
    part["image_url"]["detail"] = None
    messages = [*user(part, {"type": "text", "text": "OCR:"}), {"role": "assistant", "content": None}]
    assert post(client, messages=messages[:1], max_tokens=4)
    assert post(client, messages=[*messages, *user({"type": "text", "text": "Go on"})], max_tokens=4)


@pytest.mark.parametrize("stop", ["", [""], ["", "never"]])
def test_an_empty_stop_string_stops_at_nothing(client: TestClient, stop: Any) -> None:
    assert text(post(client, stop=stop, max_tokens=12)) == text(post(client, max_tokens=12))


@pytest.mark.parametrize("path", ["/v1/chat/completions/", "//v1/chat/completions", "/v1//chat/completions//"])
def test_surplus_slashes_are_dropped(client: TestClient, path: str) -> None:
    answer = client.request("POST", f"http://testserver{path}", json=chat(max_tokens=2))
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/ping", "/version"])
def test_probes_may_use_head(client: TestClient, path: str) -> None:
    answer = client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_wrong_method_is_told_the_right_ones(client: TestClient) -> None:
    answer = client.get("/v1/chat/completions")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_body_is_read(client: TestClient, encoding: str, pack: Any) -> None:
    headers = {"content-encoding": encoding, "content-type": "application/json"}
    answer = client.post("/v1/chat/completions", content=pack(json.dumps(chat(max_tokens=2)).encode()), headers=headers)
    assert answer.status_code == 200


def test_the_limit_holds_for_what_a_body_unpacks_to(client: TestClient) -> None:
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    bomb = gzip.compress(b" " * 2**29)
    assert client.post("/v1/chat/completions", content=bomb, headers=headers).status_code == 413


def test_another_encoding_is_refused_by_its_header(client: TestClient) -> None:
    answer = client.post("/v1/chat/completions", content=b"x", headers={"content-encoding": "br"})
    assert answer.status_code == 415
    assert "Content-Encoding" in answer.json()["error"]["message"]


# --- tools ------------------------------------------------------------------------------------------------------------

PARAMETERS = {
    "type": "object",
    "properties": {"paid": {"type": "boolean"}, "count": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["paid", "count"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "Receipt", "parameters": PARAMETERS}}
NAMED = {"type": "function", "function": {"name": "Receipt"}}


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_a_tool_that_must_be_called_is_a_schema_to_fill(client: TestClient, choice: Any) -> None:
    body = post(client, tools=[TOOL], tool_choice=choice, max_tokens=200)["choices"][0]
    assert (body["finish_reason"], body["message"]["content"]) == ("tool_calls", None)
    (call,) = body["message"]["tool_calls"]
    assert (call["type"], call["function"]["name"]) == ("function", "Receipt")
    assert set(json.loads(call["function"]["arguments"])) == {"paid", "count"}


def test_a_tools_arguments_are_streamed(client: TestClient) -> None:

    whole = post(client, tools=[TOOL], tool_choice="required", max_tokens=200)["choices"][0]["message"]["tool_calls"][0]
    deltas = [
        chunk["choices"][0]["delta"] for chunk in chunks(client, tools=[TOOL], tool_choice="required", max_tokens=200)
    ]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert (calls[0]["function"]["name"], calls[0]["index"], calls[0]["id"][:5]) == ("Receipt", 0, "call_")
    assert "".join(call["function"]["arguments"] for call in calls) == whole["function"]["arguments"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [TOOL]}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice"),
        ({"tools": [TOOL, TOOL], "tool_choice": "required"}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "Other"}}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": "required", "response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_a_choice_of_tools_is_refused(client: TestClient, fields: dict[str, Any], param: str) -> None:
    assert refused(client, **fields) == param


def test_a_question_may_come_again_with_what_a_tool_said(client: TestClient) -> None:
    """As instructor asks again: with the former call, and what its validation found."""
    first = post(client, tools=[TOOL], tool_choice=NAMED, max_tokens=200)["choices"][0]["message"]
    call = first["tool_calls"][0]
    messages = [
        *user(image_part(IMAGE), {"type": "text", "text": "Extract the receipt"}),
        {"role": "assistant", "content": None, "tool_calls": first["tool_calls"]},
        {
            "role": "tool",
            "tool_call_id": call["id"],
            "name": "Receipt",
            "content": "Validation error: total is a table",
        },
    ]
    again = post(client, messages=messages, tools=[TOOL], tool_choice=NAMED, max_tokens=200)["choices"][0]
    assert again["ocr"]["mode"] == "receipt"
    assert set(json.loads(again["message"]["tool_calls"][0]["function"]["arguments"])) == {"paid", "count"}


def test_only_an_assistant_has_called_tools(client: TestClient) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "Receipt", "arguments": "{}"}}
    assert refused(client, messages=[{"role": "user", "content": "x", "tool_calls": [call]}]) == "messages.0"
