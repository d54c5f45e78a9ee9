import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from engine.engine import Engine
from engine.request import Job
from tests.engines import network, running_engine
from tests.http.asking import chunks, post, text
from tests.http.served import client_of
from tests.payloads import chat, data_uri, image_part, user
from tests.prompts import noise_image


def test_usage_counts_prompt_and_answer(client: TestClient) -> None:
    usage = post(client, max_tokens=5)["usage"]
    assert usage["completion_tokens"] == 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + 5


def test_usage_counts_a_token_for_each_28x28_pixels(client: TestClient) -> None:
    small, large = (
        post(client, messages=user(image_part(noise_image(28 * columns, 56))))["usage"]["prompt_tokens"]
        for columns in (2, 5)
    )
    assert large - small == 2 * (5 - 2)


def test_text_and_image_may_come_in_either_order(client: TestClient) -> None:
    image, words = image_part(noise_image(56, 56)), {"type": "text", "text": "Read this"}
    assert text(post(client, messages=user(image, words))) == text(post(client, messages=user(words, image)))


def test_an_official_prompt_changes_the_answer(client: TestClient) -> None:
    image = image_part(noise_image(56, 56))
    answers = [
        text(post(client, messages=user(image, {"type": "text", "text": words}), max_tokens=20))
        for words in ("OCR:", "anything else", "Table Recognition:")
    ]
    assert answers[0] == answers[1] != answers[2]


def test_a_string_is_the_same_as_one_text_part(client: TestClient) -> None:
    parts = user({"type": "text", "text": "test"})
    assert text(post(client, messages=parts)) == text(post(client, messages=[{"role": "user", "content": "test"}]))


def test_developer_is_another_name_for_system(client: TestClient) -> None:
    answers = [
        text(post(client, messages=[{"role": role, "content": "Be brief."}, *user({"type": "text", "text": "x"})]))
        for role in ("system", "developer")
    ]
    assert answers[0] == answers[1]


def test_max_completion_tokens_overrides_max_tokens(client: TestClient) -> None:
    assert post(client, max_tokens=9, max_completion_tokens=4)["usage"]["completion_tokens"] == 4


def test_without_a_limit_the_answer_may_fill_the_context(client: TestClient) -> None:
    body = post(client, max_tokens=None)
    assert body["usage"]["completion_tokens"] > 50


def test_a_seed_makes_sampling_repeatable(client: TestClient) -> None:
    options = {"temperature": 1.5, "max_tokens": 20}
    assert text(post(client, seed=1, **options)) == text(post(client, seed=1, **options))
    assert text(post(client, seed=1, **options)) != text(post(client, seed=2, **options))


@pytest.mark.parametrize("greedy", [{"top_p": 0}, {"top_k": 1}, {"temperature": 0}])
def test_every_way_to_ask_for_greedy_is_greedy(client: TestClient, greedy: dict[str, Any]) -> None:
    sampled = {"temperature": 1.5, "seed": 3, "max_tokens": 20}
    assert text(post(client, **sampled | greedy)) == text(post(client, max_tokens=20))


def test_a_stop_string_ends_the_text_before_it(client: TestClient) -> None:
    whole = text(post(client, max_tokens=30))
    stop = whole[4:7]
    body = post(client, max_tokens=30, stop=stop)
    assert text(body) == whole[: whole.index(stop)]
    assert body["choices"][0]["finish_reason"] == "stop"


def test_pixel_bounds_of_the_request_are_honoured(client: TestClient) -> None:
    messages = user(image_part(noise_image(56, 56)))
    enlarged = post(client, messages=messages, mm_processor_kwargs={"min_pixels": 28 * 28 * 100})
    assert enlarged["usage"]["prompt_tokens"] - post(client, messages=messages)["usage"]["prompt_tokens"] == 96


def test_null_means_the_default(client: TestClient) -> None:
    nulls = dict.fromkeys(("temperature", "top_p", "seed", "stop", "stream", "n", "stream_options"))
    assert text(post(client, **nulls)) == text(post(client))


def test_a_stream_has_openais_order(client: TestClient) -> None:
    got = chunks(client, max_tokens=4)
    deltas = [chunk["choices"][0]["delta"] for chunk in got]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in got]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert deltas[-1] == {}
    assert all(set(delta) == {"content"} for delta in deltas[1:-1])
    assert reasons == [None] * (len(got) - 1) + ["length"]
    assert len({(chunk["id"], chunk["created"], chunk["object"]) for chunk in got}) == 1
    assert not any("usage" in chunk for chunk in got)


def test_a_stream_ends_with_the_usage_if_asked(client: TestClient) -> None:
    *others, last = chunks(client, max_tokens=4, stream_options={"include_usage": True})
    assert last["choices"] == []
    assert last["usage"] == post(client, max_tokens=4)["usage"]
    assert all(chunk["usage"] is None for chunk in others)


def test_a_stream_has_the_text_of_the_whole_answer(client: TestClient) -> None:
    pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks(client, max_tokens=30)]
    assert "".join(pieces) == text(post(client, max_tokens=30))


def test_an_error_in_a_stream_is_an_event_before_done(checkpoint: Path) -> None:
    with running_engine(checkpoint) as engine:
        network(engine).text.norm.weight.fill_(float("nan"))
        *_, last = chunks(client_of(engine))
        assert "not finite" in last["error"]["message"]


FAULTS: list[tuple[dict[str, Any], str | None]] = [
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": user({"type": "input_audio"})}, "messages.0.content.0"),
    ({"messages": user({"type": "text"})}, "messages.0.content.0.text"),
    ({"messages": user({"type": "image_url", "image_url": {"url": 1}})}, "messages.0.content.0.image_url.url"),
    ({"messages": [{"role": "system", "content": [image_part(Image.new("RGB", (9, 9)))]}]}, "messages.0"),
    ({"messages": user({"type": "text", "text": "</s>"})}, "messages"),
    ({"messages": user({"type": "text", "text": "\ud800"})}, "messages.0.content.0.text"),
    ({"messages": user(*[image_part(Image.new("RGB", (9, 9)))] * 4)}, "messages"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": 1.5}, "top_p"),
    ({"seed": 2**70}, "seed"),
    ({"stop": [1]}, "stop.0"),
    ({"n": 0}, "n"),
    ({"tools": [{}]}, "tools.0.type"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"mm_processor_kwargs": {"max_pixels": 10**9}}, "mm_processor_kwargs.max_pixels"),
    ({"\ud800": 1}, None),
]


@pytest.mark.parametrize(("fields", "param"), FAULTS, ids=[f"{param}-{n}" for n, (_, param) in enumerate(FAULTS)])
def test_a_bad_request_is_400_and_names_the_field(
    client: TestClient, fields: dict[str, Any], param: str | None
) -> None:
    body = json.dumps(chat(**fields))  # not the client's own encoding, which stumbles over half characters itself
    answer = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b"\xff", b"null"])
def test_a_body_that_is_no_json_object_is_400(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_a_full_queue_is_429_with_retry_after(checkpoint: Path) -> None:
    with running_engine(checkpoint, slots=1, max_waiting=0) as engine:
        client = client_of(engine)
        engine.admission.admit(Job(), 1)  # as if the only slot were taken
        answer = client.post("/v1/chat/completions", json=chat())
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1


def test_a_refused_image_is_named_by_its_part(client: TestClient) -> None:
    broken = data_uri(Image.new("RGB", (9, 9)))[:-40] + "AAAA"
    parts = ({"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": broken}})
    answer = client.post("/v1/chat/completions", json=chat(messages=user(*parts)))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages.0.content.1.image_url.url"


def test_all_slots_are_free_afterwards(client: TestClient, engine: Engine) -> None:
    post(client)
    assert engine.stats().free_slots == 4
