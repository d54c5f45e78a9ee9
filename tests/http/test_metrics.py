"""/metrics after a request."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from PIL import Image
from starlette.testclient import TestClient

from engine.config import EngineConfig
from engine.engine import Engine
from engine.errors import GenerationFailed
from engine.request import Sequence as EngineSequence
from engine.scheduler import Step
from images.errors import DecoderEnded
from tests.engines import running_engine
from tests.http.scraping import CHAT, Scrape, scrape
from tests.http.served import MAX_REQUEST_BYTES, MODEL, client_of
from tests.http.sockets import served, wait_for
from tests.payloads import chat, image_part
from tests.prompts import noise_image

NAMES = {
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:request_success_total",
    "vllm:time_to_first_token_seconds_bucket",
    "vllm:inter_token_latency_seconds_bucket",
    "vllm:e2e_request_latency_seconds_bucket",
    "vllm:request_queue_time_seconds_bucket",
    "paddleocr_vl:requests_total",
    "paddleocr_vl:picture_pixels_total",
    "paddleocr_vl:picture_cache_bytes",
    "paddleocr_vl:vision_seconds_total",
    "paddleocr_vl:pages_total",
    "paddleocr_vl:page_seconds_total",
    "paddleocr_vl:picture_cache_queries_total",
    "paddleocr_vl:picture_cache_hits_total",
    "paddleocr_vl:repetition_cuts_total",
    "paddleocr_vl:rejections_total",
    "paddleocr_vl:waiting_picture_bytes",
}


@pytest.fixture(scope="module")
def own_engine(checkpoint: Path) -> Iterator[Engine]:
    """An engine of its own: the other tests' engine has other observers."""
    with running_engine(checkpoint) as engine:
        yield engine


@pytest.fixture
def client(own_engine: Engine) -> TestClient:
    return client_of(own_engine)


def test_every_metric_is_there_before_the_first_request_under_the_models_name(client: TestClient) -> None:
    samples = scrape(client).samples
    assert {s.name for s in samples} >= NAMES
    assert {s.labels["model_name"] for s in samples if s.name in NAMES} == {MODEL}


def test_two_apps_count_apart(client: TestClient, own_engine: Engine) -> None:
    client.post(CHAT, json=chat(n=0))
    assert scrape(client)("paddleocr_vl:rejections_total") == 1
    assert scrape(client_of(own_engine))("paddleocr_vl:rejections_total") == 0


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_counts_its_tokens_its_end_and_its_times(client: TestClient, stream: bool) -> None:
    prompt = client.post("/tokenize", json={"messages": chat()["messages"]}).json()["count"]
    client.post(CHAT, json=chat(max_tokens=7, ignore_eos=True, stream=stream))
    after = scrape(client)
    assert after("vllm:prompt_tokens_total") == prompt
    assert after("vllm:generation_tokens_total") == 7
    assert after("vllm:request_success_total") == after("vllm:request_success_total", finished_reason="length") == 1
    assert after("vllm:time_to_first_token_seconds_count") == 1
    assert after("vllm:inter_token_latency_seconds_count") == 6
    assert after("vllm:e2e_request_latency_seconds_count") == 1
    assert after("vllm:request_queue_time_seconds_count") == 1
    assert after("vllm:num_requests_running") == after("vllm:num_requests_waiting") == 0
    assert after("vllm:kv_cache_usage_perc") == 0
    waited, first, whole = (
        after(f"vllm:{name}_seconds_sum")
        for name in ("request_queue_time", "time_to_first_token", "e2e_request_latency")
    )
    assert 0 < waited < first < whole


def test_every_choice_is_an_answer(client: TestClient) -> None:
    client.post(CHAT, json=chat(n=3))
    after = scrape(client)
    assert after("paddleocr_vl:requests_total") == 1
    assert after("vllm:request_success_total") == 3
    assert after("vllm:time_to_first_token_seconds_count") == 3


def test_requests_are_counted_by_mode(client: TestClient) -> None:
    content = [image_part(noise_image(56, 28)), {"type": "text", "text": "the table"}]
    client.post(CHAT, json=chat(messages=[{"role": "user", "content": content}]))
    after = scrape(client)
    assert after("paddleocr_vl:requests_total") == after("paddleocr_vl:requests_total", mode="table") == 1


def test_a_second_question_about_an_image_is_a_hit_and_costs_no_vision(client: TestClient) -> None:
    shown = noise_image(112, 84, seed=11)
    for prompt in ("OCR:", "Table Recognition:"):
        content = [image_part(shown), {"type": "text", "text": prompt}]
        client.post(CHAT, json=chat(messages=[{"role": "user", "content": content}]))
    after = scrape(client)
    assert after("paddleocr_vl:picture_cache_queries_total") == 2
    assert after("paddleocr_vl:picture_cache_hits_total") == 1
    assert after("paddleocr_vl:picture_pixels_total") == 112 * 84
    assert after("paddleocr_vl:vision_seconds_total") > 0


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("invalid", {"max_tokens": -1}),
        ("unknown_model", {"model": "another"}),
        ("too_large", {"user": "x" * MAX_REQUEST_BYTES}),
    ],
)
def test_a_refused_request_counts_by_the_reason(client: TestClient, reason: str, fields: dict[str, object]) -> None:
    client.post(CHAT, json=chat(**fields))
    after = scrape(client)
    assert after("paddleocr_vl:rejections_total") == after("paddleocr_vl:rejections_total", reason=reason) == 1
    assert after("paddleocr_vl:requests_total") == 0


def test_a_file_that_ended_its_decoder_counts_by_itself(engine: Engine) -> None:
    """It may be an attack; other invalid input is a client's mistake."""

    class Crashing:
        def open_file(self, *_: object) -> Image.Image:
            raise DecoderEnded("it cannot be decoded: the decoder crashed over it")

        open_page = open_file

    client = client_of(engine, decoder=Crashing())
    content = [image_part(noise_image(56, 56))]
    answer = client.post(CHAT, json=chat(messages=[{"role": "user", "content": content}]))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "decoder_ended")
    after = scrape(client)
    assert after("paddleocr_vl:rejections_total") == after("paddleocr_vl:rejections_total", reason="decoder_ended") == 1


def test_a_request_before_the_model_is_loaded_counts_as_refused(checkpoint: Path) -> None:
    client = client_of(Engine(EngineConfig(model=checkpoint)))
    client.get("/health")
    client.post(CHAT, json=chat())
    assert scrape(client)("paddleocr_vl:rejections_total", reason="unavailable") == 1


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_fails_is_an_error(
    client: TestClient, own_engine: Engine, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    def fail(step: Step) -> Sequence[tuple[EngineSequence, GenerationFailed]]:
        return [(sequence, GenerationFailed("on purpose")) for sequence in step.prefill]

    monkeypatch.setattr(own_engine.runner, "run", fail)
    client.post(CHAT, json=chat(stream=stream))
    assert scrape(client)("vllm:request_success_total", finished_reason="error") == 1


@pytest.fixture
def client_of_a_silent_model(own_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A client over a real socket; answers never begin."""

    def say_nothing(_: Step) -> list[tuple[EngineSequence, GenerationFailed]]:
        time.sleep(0.001)  # a step takes time, and other threads need the lock
        return []

    monkeypatch.setattr(own_engine.runner, "run", say_nothing)
    tries = httpx.HTTPTransport(retries=9)  # the server may not listen yet
    with served(own_engine) as url, httpx.Client(base_url=url, transport=tries) as client:
        yield client


def test_a_client_that_closes_a_stream_is_an_abort(client_of_a_silent_model: httpx.Client, own_engine: Engine) -> None:
    with client_of_a_silent_model.stream("POST", CHAT, json=chat(stream=True)) as answer:
        pieces = answer.iter_bytes()  # referenced, since dropping it closes the connection
        next(pieces)
        wait_for(own_engine, running=1)
    wait_for(own_engine, running=0)
    assert_aborted(scrape(client_of_a_silent_model))


def test_a_client_that_gives_up_on_a_whole_answer_is_an_abort(
    client_of_a_silent_model: httpx.Client, own_engine: Engine
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        client_of_a_silent_model.post(CHAT, json=chat(), timeout=0.5)
    wait_for(own_engine, running=0)
    assert_aborted(scrape(client_of_a_silent_model))


def assert_aborted(after: Scrape) -> None:
    assert after("vllm:request_success_total") == after("vllm:request_success_total", finished_reason="abort") == 1
    assert after("vllm:e2e_request_latency_seconds_count") == 0  # it says nothing about the server's speed


def test_unknown_paths_and_methods_are_one_series(client: TestClient) -> None:
    client.get("/unknown/0")
    client.request("BREW0", "/v1/models")
    scrape(client)
    before = series(scrape(client))
    for i in range(1, 10):
        client.get(f"/unknown/{i}")
        client.request(f"BREW{i}", "/v1/models")
    after = scrape(client)
    assert series(after) == before
    assert after("http_requests_total", status="4xx") == 20


def series(scrape: Scrape) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {(sample.name, frozenset(sample.labels.items())) for sample in scrape.samples}


def test_an_unexpected_error_is_a_5xx(client: TestClient, own_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_engine, "encode_text", None)
    assert client.post("/tokenize", json={"prompt": "x"}).status_code == 500
    assert scrape(client)("http_requests_total", handler="/tokenize", status="5xx") == 1
