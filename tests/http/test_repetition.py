"""Answers in a loop; a bias makes the random checkpoint repeat itself."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.http.asking import choice, chunks, post


@pytest.fixture(scope="module")
def loop(client: TestClient) -> dict[str, Any]:
    """Fields under which every token is an `x`."""
    token = client.post("/tokenize", json={"prompt": "x"}).json()["tokens"][-1]
    return {"logit_bias": {str(token): 100}, "max_tokens": 400}


def test_a_loop_ends_the_answer_and_is_cut_to_one_copy(client: TestClient, loop: dict[str, Any]) -> None:
    body = post(client, **loop)
    assert body["choices"][0]["finish_reason"] == "length"  # clients take "stop" for success
    assert body["choices"][0]["stop_reason"] == "repetition"
    assert body["choices"][0]["message"]["content"] == "x"
    assert body["usage"]["completion_tokens"] == 50


def test_a_stream_says_how_much_of_its_text_to_keep(client: TestClient, loop: dict[str, Any]) -> None:
    got = chunks(client, **loop)
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in got)
    last = got[-1]["choices"][0]
    assert (last["finish_reason"], last["stop_reason"]) == ("length", "repetition")
    assert len(text) == 50
    assert text[: last["ocr"]["keep_chars"]] == "x"


def test_logprobs_are_cut_with_the_text(client: TestClient, loop: dict[str, Any]) -> None:
    assert len(choice(client, logprobs=True, **loop)["logprobs"]["content"]) == 1


def test_the_threshold_can_be_set(client: TestClient, loop: dict[str, Any]) -> None:
    assert post(client, repetition_detection={"min_count": 9}, **loop)["usage"]["completion_tokens"] == 9


def test_short_patterns_can_be_allowed(client: TestClient, loop: dict[str, Any]) -> None:
    patient = {"min_count": 9, "min_pattern_size": 3}
    assert post(client, repetition_detection=patient, **loop)["usage"]["completion_tokens"] == 27


@pytest.mark.parametrize("off", [{"repetition_detection": False}, {"ignore_eos": True}])
def test_it_can_be_switched_off(client: TestClient, loop: dict[str, Any], off: dict[str, Any]) -> None:
    assert choice(client, **loop, **off)["message"]["content"] == "x" * 400
