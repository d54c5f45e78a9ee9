"""Clients that leave before the end free everything: over real sockets, proved by counters."""

import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.engine import Engine
from engine.pace import Pace
from tests.checkpoints import write_script
from tests.engines import running_engine
from tests.http.documents import document, file_part
from tests.http.pressure import (
    Decoder,
    Received,
    SilentHost,
    braked,
    nothing_is_left,
    send,
    serving,
    wait_until,
    with_image,
)
from tests.http.scraping import CHAT, Scrape
from tests.http.sockets import SECONDS, served
from tests.payloads import chat, user
from tests.prompts import noise_image


@pytest.fixture
def engine(one_slot: Engine) -> Engine:
    return one_slot


def test_a_client_that_leaves_in_the_middle_of_the_body_was_never_admitted(engine: Engine) -> None:
    with serving(engine) as url:
        address = httpx.URL(url)
        with socket.create_connection((address.host, address.port)) as client:
            client.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\n{{".encode())
        assert Received(send(url, chat())).status == 200
        scrape = Scrape(httpx.get(f"{url}/metrics").text)
    assert scrape("http_requests_total", handler=CHAT, status="4xx") == 1
    assert scrape("paddleocr_vl:rejections_total", reason="invalid") == 0  # it was not invalid


def test_a_client_that_leaves_while_an_image_is_fetched_frees_everything_and_ends_the_fetch(engine: Engine) -> None:
    with SilentHost() as host, serving(engine) as url:
        with send(url, host.image()) as client, host.asked() as fetching:
            fetching.settimeout(SECONDS)
            assert fetching.recv(1000).startswith(b"GET /image.png")
            assert engine.stats().waiting == 1
            client.close()
            assert fetching.recv(1000) == b""
        wait_until(lambda: nothing_is_left(engine), engine)


def test_a_client_that_leaves_while_an_image_is_decoded_frees_everything(engine: Engine) -> None:
    with Decoder() as decoder, serving(engine, decoder=decoder) as url:
        decoder.hold_file.set()
        with send(url, with_image()):
            wait_until(decoder.asked.is_set, engine)
            assert engine.stats().waiting_bytes > 0
        wait_until(lambda: nothing_is_left(engine), engine)
        decoder.let_go()


def test_a_client_that_leaves_while_the_prompt_is_prepared_frees_everything(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine.processor is not None
    prepare, begun, let_go = engine.processor.prepare, threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        begun.set()
        assert let_go.wait(SECONDS)
        return prepare(*arguments)

    monkeypatch.setattr(engine.processor, "prepare", slow)
    with serving(engine) as url:
        with send(url, with_image()):
            wait_until(begun.is_set, engine)
        wait_until(lambda: nothing_is_left(engine), engine)
        let_go.set()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_the_queue_frees_a_place_in_it(engine: Engine, stream: bool) -> None:
    with serving(engine) as url, braked(engine):
        with send(url, with_image()):
            wait_until(lambda: engine.stats().running == 1, engine)
            before = engine.stats().waiting_bytes
            with send(url, with_image(stream=stream)):
                wait_until(lambda: engine.stats().waiting == 1 and engine.stats().waiting_bytes > before, engine)
            wait_until(lambda: engine.stats().waiting == 0, engine)
            assert (engine.stats().running, engine.stats().waiting_bytes) == (1, before)
        wait_until(lambda: nothing_is_left(engine), engine)


def test_a_client_that_leaves_while_the_vision_tower_runs_frees_the_slot(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "prefill_seconds", lambda *_, **__: 0.0)  # a slice a step
    assert engine.runner is not None
    runner = engine.runner
    with serving(engine) as url, braked(engine, lambda _: runner._work is not None) as brake:
        with send(url, with_image(noise_image(140, 140, seed=5))):
            wait_until(brake.stands.is_set, engine)
            assert (engine.stats().running, engine.stats().totals.prompt_tokens) == (
                1,
                engine.stats().totals.prompt_tokens,
            )
        wait_until(lambda: nothing_is_left(engine), engine)
        brake.released.set()
        assert Received(send(url, with_image())).status == 200  # work begun for the other client harms no later one


def test_a_client_that_leaves_between_two_pages_frees_everything(engine: Engine) -> None:
    before = engine.stats().totals.generation_tokens
    with Decoder() as decoder, serving(engine, decoder=decoder) as url:
        body = chat(messages=user(file_part(document("TIFF"))), max_tokens=3, ignore_eos=True)
        with send(url, body):
            wait_until(lambda: engine.stats().totals.generation_tokens == before + 3, engine)
            wait_until(decoder.asked.is_set, engine)
            assert engine.stats().running == 0
        wait_until(lambda: nothing_is_left(engine), engine)
        decoder.let_go()


def test_a_client_that_leaves_at_the_question_of_an_extraction_frees_everything(tmp_path: Path) -> None:
    folder = write_script(tmp_path / "model", "Shop", "\nTotal 1.00", "\nTotal 2.00")
    body = with_image(noise_image(200, 100), max_tokens=200)
    body["messages"][0]["content"].append({"type": "text", "text": "receipt"})
    with (
        running_engine(folder, max_model_len=1024, slots=1) as engine,
        served(engine) as url,
        braked(engine, lambda step: any(one.follows for one in step.prefill)) as brake,
    ):
        with send(url, body):
            wait_until(brake.stands.is_set, engine)
            assert engine.stats().running == 1
        wait_until(lambda: nothing_is_left(engine), engine)
