"""Every field that a chat request may hold does something, or is refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from api.schema.requests import ChatRequest
from engine.engine import Engine
from models.choice import Served
from tests.http.asking import choice, chunks, post, refused, text
from tests.http.served import client_of
from tests.payloads import chat, data_uri, image_part, user
from tests.prompts import noise_image

LONG = {"max_tokens": 40}


def first_token(client: TestClient) -> int:
    """The id of the token that the greedy answer begins with."""
    spelled = choice(client, max_tokens=1, logprobs=True)["logprobs"]["content"][0]["token"]
    ids: list[int] = client.post("/tokenize", json={"prompt": spelled}).json()["tokens"]
    return ids[-1]


# --- sampling ---------------------------------------------------------------------------------------------------------


def test_n_gives_as_many_answers_each_with_a_seed_of_its_own(client: TestClient) -> None:
    sampled = {"temperature": 1.5, "max_tokens": 15}
    body = post(client, n=3, seed=5, **sampled)
    texts = [choice["message"]["content"] for choice in body["choices"]]
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert texts == [text(post(client, seed=seed, **sampled)) for seed in (5, 6, 7)]
    assert body["usage"]["completion_tokens"] <= 45
    assert body["usage"]["prompt_tokens"] == post(client)["usage"]["prompt_tokens"]


def test_n_answers_are_streamed_under_their_numbers(client: TestClient) -> None:
    got = chunks(client, n=2, seed=5, temperature=1.5, max_tokens=15)
    texts = ["", ""]
    for chunk in got:
        (one,) = chunk["choices"]
        texts[one["index"]] += one["delta"].get("content", "")
    assert texts == [text(post(client, seed=seed, temperature=1.5, max_tokens=15)) for seed in (5, 6)]
    assert sum(chunk["choices"][0]["finish_reason"] is not None for chunk in got) == 2


def test_min_p_of_one_leaves_only_the_likeliest(client: TestClient) -> None:
    assert text(post(client, temperature=2, min_p=1, seed=1, **LONG)) == text(post(client, **LONG))


@pytest.mark.parametrize(
    "penalty",
    [{"presence_penalty": 2}, {"frequency_penalty": 2}, {"repetition_penalty": 5}],
    ids=lambda p: next(iter(p)),
)
def test_a_penalty_changes_what_repeats(client: TestClient, penalty: dict[str, Any]) -> None:
    assert text(post(client, **penalty, **LONG)) != text(post(client, **LONG))


def test_logit_bias_bans_a_token(client: TestClient) -> None:
    banned = str(first_token(client))
    assert text(post(client, max_tokens=1, logit_bias={banned: -100})) != text(post(client, max_tokens=1))


def test_logit_bias_names_tokens_that_there_are(client: TestClient) -> None:
    assert refused(client, logit_bias={"99999999": 1}) == "logit_bias"


def test_the_end_token_ends_unless_it_is_ignored(client: TestClient) -> None:
    ends = {"logit_bias": {"2": 100}, "max_tokens": 6}
    assert post(client, **ends)["usage"]["completion_tokens"] == 1
    body = post(client, ignore_eos=True, **ends)
    assert body["usage"]["completion_tokens"] == 6
    assert body["choices"][0]["finish_reason"] == "length"


def test_min_tokens_defers_the_end_token(client: TestClient) -> None:
    body = post(client, min_tokens=4, max_tokens=9, logit_bias={"2": 100})
    assert body["usage"]["completion_tokens"] == 5


def test_min_tokens_defers_a_stop_string(client: TestClient) -> None:
    whole = text(post(client, max_tokens=30))
    assert text(post(client, max_tokens=30, stop=whole[:1], min_tokens=20)).startswith(whole[:10])


def test_min_tokens_over_the_limit_is_refused(client: TestClient) -> None:
    assert refused(client, min_tokens=9, max_tokens=8) == "min_tokens"


def test_special_tokens_are_shown_if_asked(client: TestClient) -> None:
    body = {"logit_bias": {"1": 100}, "max_tokens": 2, "repetition_detection": False}
    assert text(post(client, **body)) == ""
    assert text(post(client, skip_special_tokens=False, **body)) == "<s><s>"


def test_the_stop_string_that_was_met_is_reported(client: TestClient) -> None:
    whole = text(post(client, max_tokens=30))
    assert choice(client, max_tokens=30, stop=["never", whole[4:7]])["stop_reason"] == whole[4:7]
    assert choice(client, max_tokens=3)["stop_reason"] is None


# --- what comes with the text -----------------------------------------------------------------------------------------


def test_the_bytes_of_the_logprobs_are_the_text(client: TestClient) -> None:
    body = choice(client, logprobs=True, guided_regex="[a-z€é ]{20}", **LONG)
    content = body["logprobs"]["content"]
    assert b"".join(bytes(entry["bytes"]) for entry in content).decode() == body["message"]["content"]
    assert all(entry["logprob"] <= 0 for entry in content)
    assert choice(client)["logprobs"] is None


def test_top_logprobs_begin_with_the_greedy_token(client: TestClient) -> None:
    for entry in choice(client, logprobs=True, top_logprobs=3)["logprobs"]["content"]:
        best, *others = entry["top_logprobs"]
        assert (best["token"], best["logprob"]) == (entry["token"], pytest.approx(entry["logprob"], abs=1e-5))
        assert [other["logprob"] for other in others] == sorted((o["logprob"] for o in others), reverse=True)
        assert len(others) == 2


def test_top_logprobs_need_logprobs(client: TestClient) -> None:
    assert refused(client, top_logprobs=3) == "top_logprobs"


def test_a_stream_brings_every_logprob_once(client: TestClient) -> None:
    whole = choice(client, logprobs=True, **LONG)["logprobs"]["content"]
    parts = [chunk["choices"][0]["logprobs"] for chunk in chunks(client, logprobs=True, **LONG)]
    streamed = [entry for part in parts if part for entry in part["content"]]
    assert [entry["token"] for entry in streamed] == [entry["token"] for entry in whole]


def test_usage_comes_with_every_chunk_if_asked(client: TestClient) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks(client, max_tokens=4, stream_options=options)]
    assert counts == sorted(counts)
    assert counts[-1] == 4


def test_usage_reports_how_much_of_the_prompt_was_cached(client: TestClient) -> None:
    question = user({"type": "text", "text": "Has this been asked before?"})
    first, again = (post(client, messages=question)["usage"] for _ in range(2))
    assert first["prompt_tokens_details"] == {"cached_tokens": 0}
    assert again["prompt_tokens_details"] == {"cached_tokens": again["prompt_tokens"] - 1}


def test_the_fingerprint_names_checkpoint_and_server(engine: Engine) -> None:
    body = post(client_of(engine, revision="abc"))
    assert body["system_fingerprint"] == "abc-0.1.0"


def test_the_fingerprint_names_the_layout_model_too(engine: Engine) -> None:
    """Bug: answers changed with the layout model under one fingerprint."""
    body = post(client_of(engine, revision="abc", layout=Served("layout", "def", Path())))
    assert body["system_fingerprint"] == "abc-def-0.1.0"


def test_confidence_is_the_geometric_mean_of_the_probabilities(client: TestClient) -> None:
    body = choice(client, logprobs=True, **LONG)
    logprobs = [entry["logprob"] for entry in body["logprobs"]["content"]]
    assert body["ocr"]["confidence"] == pytest.approx(float(np.exp(np.mean(logprobs))), abs=1e-5)
    assert body["ocr"]["lines"] is None


def test_words_have_their_confidence_if_asked(client: TestClient) -> None:
    body = choice(client, ocr={"words": True}, temperature=1.2, seed=1, max_tokens=60)
    content, lines = body["message"]["content"], body["ocr"]["lines"]
    assert [line["text"] for line in lines] == [line for line in content.split("\n") if line.strip()]
    assert [[word["text"] for word in line["words"]] for line in lines] == [line["text"].split() for line in lines]
    assert all(0 < part["confidence"] <= 1 for line in lines for part in (line, *line["words"]))


def test_the_last_chunk_has_the_ocr_report(client: TestClient) -> None:
    *others, last = chunks(client, ocr={"words": True}, **LONG)
    whole = choice(client, ocr={"words": True}, **LONG)["ocr"]
    assert last["choices"][0]["ocr"] == whole
    assert not any("ocr" in chunk["choices"][0] for chunk in others)


@pytest.mark.parametrize(("words", "mode"), [("OCR:", "ocr"), ("Table Recognition:", "table"), ("read", "markdown")])
def test_the_report_names_the_mode(client: TestClient, words: str, mode: str) -> None:
    messages = user(image_part(noise_image(56, 56)), {"type": "text", "text": words})
    assert choice(client, messages=messages)["ocr"]["mode"] == mode


# --- images ---------------------------------------------------------------------------------------------------------


def test_detail_bounds_the_size_of_an_image(client: TestClient) -> None:
    def tokens(detail: str) -> int:
        url = {"url": data_uri(Image.new("RGB", (1100, 300))), "detail": detail}
        messages = user({"type": "image_url", "image_url": url})
        count: int = post(client, messages=messages, max_tokens=1)["usage"]["prompt_tokens"]
        return count

    assert tokens("low") < tokens("auto")


@pytest.mark.parametrize("size", [(1, 1), (1, 100), (5600, 28)])
def test_odd_shapes_are_read(client: TestClient, size: tuple[int, int]) -> None:
    assert post(client, messages=user(image_part(Image.new("RGB", size))))["usage"]["prompt_tokens"] > 0


def test_several_images_share_a_prompt(client: TestClient) -> None:
    one, two = image_part(noise_image(56, 56)), image_part(noise_image(84, 56))

    def tokens(*parts: dict[str, Any]) -> int:
        count: int = post(client, messages=user(*parts))["usage"]["prompt_tokens"]
        return count

    assert tokens(one, two) > tokens(two) + 3
    assert text(post(client, messages=user(one, two), **LONG)) != text(post(client, messages=user(two, one), **LONG))


def test_an_address_needs_no_object_around_it(client: TestClient) -> None:
    bare = {"type": "image_url", "image_url": data_uri(noise_image(56, 56))}
    assert text(post(client, messages=user(bare))) == text(post(client, messages=user(image_part(noise_image(56, 56)))))


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_unknown_fields_are_named_in_a_header_and_once_in_the_log(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    body = chat(novelty=1, messages=[{"role": "user", "content": "x", "name": "bob"}])
    for _ in range(2):
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.headers["x-ignored-fields"] == "messages.name, novelty"
    assert caplog.text.count("novelty") == 1
    assert "x-ignored-fields" not in client.post("/v1/chat/completions", json=chat()).headers


def test_strict_fields_makes_an_unknown_one_an_error(engine: Engine) -> None:
    assert refused(client_of(engine, strict_fields=True), novelty=1) == "novelty"


REFUSED = [
    name for name, field in ChatRequest.model_fields.items() if "Refused" in repr(field) or "_refuse" in repr(field)
]


@pytest.mark.parametrize("field", REFUSED)
def test_an_unsupported_field_is_refused_by_name_and_accepted_when_empty(client: TestClient, field: str) -> None:
    assert refused(client, **{field: [{"type": "x"}]}) == field
    assert text(post(client, **{field: []})) == text(post(client))


def test_functions_and_audio_are_among_the_refused() -> None:
    assert {"functions", "audio", "prediction", "stop_token_ids"} <= set(REFUSED)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"store": True}, "store"),
        ({"modalities": ["text", "audio"]}, "modalities.1"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"n": 17}, "n"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"response_format": {"type": "yaml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"repetition_detection": {"min_count": 1}}, "repetition_detection.min_count"),
        (
            {"repetition_detection": {"min_pattern_size": 9, "max_pattern_size": 8}},
            "repetition_detection.min_pattern_size",
        ),
        ({"messages": [{"role": "assistant", "content": "x", "tool_calls": [{}]}]}, "messages.0.tool_calls.0.function"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(client: TestClient, fields: dict[str, Any], param: str) -> None:
    assert refused(client, **fields) == param


def test_a_request_that_is_too_large_is_413(client: TestClient) -> None:
    body = json.dumps(chat(user="x" * 2**22))
    answer = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert "bytes" in answer.json()["error"]["message"]
