"""Requests that take longer than allowed, and a server that ends: over real sockets, proved by counters."""

import json
import threading
from pathlib import Path

import pytest

from engine.engine import Engine
from tests.engines import running_engine
from tests.http.documents import document, file_part
from tests.http.pressure import LATE, Decoder, Received, SilentHost, braked, nothing_is_left, send, serving, wait_until
from tests.http.scraping import CHAT, Scrape
from tests.http.served import client_of
from tests.http.sockets import served
from tests.payloads import chat, user


@pytest.fixture
def engine(one_slot: Engine) -> Engine:
    return one_slot


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf", ""])
def test_an_invalid_timeout_is_400_and_named(engine: Engine, value: str) -> None:
    answer = client_of(engine).post(CHAT, json=chat(), headers={"x-request-timeout": value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-request-timeout")


@pytest.mark.parametrize(
    ("setting", "headers"), [(None, LATE), (600.0, LATE), (1.0, {"x-request-timeout": "600"}), (1.0, {})]
)
def test_the_earlier_deadline_ends_an_answer_with_504_and_frees_its_slot(
    engine: Engine, setting: float | None, headers: dict[str, str]
) -> None:
    with braked(engine), client_of(engine, request_seconds=setting) as client:
        answer = client.post(CHAT, json=chat(), headers=headers)
        assert answer.status_code == 504
        assert answer.json()["error"]["type"] == "timeout_error"
        assert "within the 1 s" in answer.json()["error"]["message"]
        assert answer.headers["x-should-retry"] == "false"
        wait_until(lambda: nothing_is_left(engine), engine)
        after = Scrape(client.get("/metrics").text)
        assert after("vllm:request_success_total", finished_reason="deadline") == 1
        assert after("paddleocr_vl:rejections_total", reason="deadline") == 1


def test_a_deadline_ends_a_request_that_waits_for_its_turn(engine: Engine) -> None:
    with serving(engine) as url, braked(engine) as brake:
        running = send(url, chat())
        wait_until(brake.stands.is_set, engine)
        assert Received(send(url, chat(), LATE)).status == 504
        brake.released.set()
        assert Received(running).status == 200


def test_a_deadline_ends_the_wait_for_an_image(engine: Engine) -> None:
    with SilentHost() as host, serving(engine) as url:
        answer = Received(send(url, host.image(), LATE))
        assert (answer.status, answer.error["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize("stream", [False, True])
def test_a_deadline_ends_the_wait_for_a_page(engine: Engine, stream: bool) -> None:
    body = chat(messages=user(file_part(document("TIFF"))), max_tokens=3, stream=stream)
    with Decoder() as decoder, serving(engine, decoder=decoder) as url:
        answer = Received(send(url, body, {"x-request-timeout": "1"}))
        assert answer.status == (200 if stream else 504)
        assert '"code":"deadline_exceeded"' in answer.text
        wait_until(lambda: nothing_is_left(engine), engine)
        decoder.let_go()


def test_a_deadline_ends_a_stream_with_an_error_event(endless: Engine) -> None:
    body = chat(stream=True, max_tokens=None, repetition_detection=False)
    with served(endless) as url:
        text = Received(send(url, body, {"x-request-timeout": "1"})).text
    *chunks, last, done, _ = text.split("\n\n")
    assert len(chunks) > 2  # it had begun
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
    assert done == "data: [DONE]"
    wait_until(lambda: nothing_is_left(endless), endless)


def test_a_request_whose_image_is_still_fetched_at_the_end_of_the_grace_gets_503(checkpoint: Path) -> None:
    """It was killed without an answer, since the engine had nothing of it yet."""
    with running_engine(checkpoint) as engine, SilentHost() as host, serving(engine) as url:
        with send(url, host.image()) as client, host.asked():
            ending = threading.Thread(target=engine.shutdown, args=(0.1,))
            ending.start()
            ended = Received(client)
            ending.join()
        assert (ended.status, ended.error["message"]) == (503, "the server is shutting down")
        refused = Received(send(url, chat()))
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        wait_until(lambda: nothing_is_left(engine), engine)
