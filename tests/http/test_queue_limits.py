"""More requests than fit, and whose turn is next: over real sockets, proved by counters."""

import gc
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.keys import Keys
from engine.engine import IMAGES_AT_ONCE, Engine
from models.paddleocr_vl.processor import PaddleOCRVLInput
from tests.engines import running_engine
from tests.http.pressure import (
    IMAGE,
    Decoder,
    Received,
    braked,
    nothing_is_left,
    send,
    serving,
    wait_until,
    with_image,
)
from tests.http.scraping import CHAT
from tests.http.served import LIMITS, client_of
from tests.http.sockets import served
from tests.keys import ALICE, BOB
from tests.payloads import chat, data_uri, image_part, user
from tests.prompts import noise_image


@pytest.fixture
def engine(one_slot: Engine) -> Engine:
    return one_slot


def test_images_beyond_the_bytes_that_may_wait_are_429_at_once_and_texts_are_not(checkpoint: Path) -> None:
    with running_engine(checkpoint, slots=1, max_waiting_bytes=100_000) as engine, served(engine) as url:
        with braked(engine) as brake:
            first = send(url, with_image())  # over the bound by itself, but nothing else waits
            wait_until(lambda: engine.stats().waiting_bytes > 100_000, engine)
            refused = Received(send(url, with_image()))
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
            assert refused.error["code"] == "queue_full"
            words = send(url, chat())
            wait_until(lambda: engine.stats().waiting == 1, engine)
            brake.released.set()
            assert Received(first).status == Received(words).status == 200
        assert Received(send(url, with_image())).status == 200
        wait_until(lambda: nothing_is_left(engine), engine)


def test_images_count_from_their_encoded_bytes_until_their_prefill(engine: Engine) -> None:
    body = with_image(max_tokens=300, ignore_eos=True)
    encoded = len(body["messages"][0]["content"][0]["image_url"]["url"])
    decoded = IMAGE.width * IMAGE.height * 3
    with Decoder() as decoder, serving(engine, decoder=decoder) as url:
        decoder.hold_file.set()
        with braked(engine) as brake:
            client = send(url, body)
            wait_until(decoder.asked.is_set, engine)
            assert engine.stats().waiting_bytes == encoded
            decoder.let_go()
            wait_until(brake.stands.is_set, engine)
            assert engine.stats().waiting_bytes == encoded + decoded + decoded * 4  # the model's input is in fp32
            brake.where = lambda step: bool(step.decode)
            wait_until(lambda: engine.stats().totals.generation_tokens > 0, engine)
            assert (engine.stats().running, engine.stats().waiting_bytes) == (1, 0)
        client.close()


def test_an_image_is_dropped_after_its_prefill(engine: Engine) -> None:
    with Decoder() as decoder, serving(engine, decoder=decoder) as url:
        with braked(engine, lambda step: bool(step.decode)) as brake:
            client = send(url, with_image(max_tokens=2, ignore_eos=True))
            wait_until(brake.stands.is_set, engine)
            (running,) = brake.begun
            assert isinstance(running.prompt, PaddleOCRVLInput)
            assert running.prompt.pixels is None
            gc.collect()
            assert [image() for image in decoder.images] == [None]
        assert Received(client).status == 200


def test_a_full_queue_refuses_a_request_before_any_work_on_it(checkpoint: Path) -> None:
    broken = chat(messages=user({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}))
    with running_engine(checkpoint, slots=1, max_waiting=0) as engine, served(engine) as url:
        with braked(engine) as brake:
            running = send(url, chat())
            wait_until(brake.stands.is_set, engine)
            assert Received(send(url, broken)).status == 429
            brake.released.set()
            assert Received(running).status == 200
        assert Received(send(url, broken)).status == 400


def test_tokenizing_images_takes_a_place_in_the_queue_too(checkpoint: Path) -> None:
    with running_engine(checkpoint, slots=1, max_waiting=0) as engine:
        client: TestClient = client_of(engine, LIMITS)
        with braked(engine), served(engine) as url, send(url, chat()):
            wait_until(lambda: engine.stats().running == 1, engine)
            assert client.post("/tokenize", json={"messages": user(image_part(IMAGE))}).status_code == 429
            assert client.post("/tokenize", json={"prompt": "words"}).status_code == 200
        wait_until(lambda: nothing_is_left(engine), engine)
        assert client.post("/tokenize", json={"messages": user(image_part(IMAGE))}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        chat(messages=user({"type": "image_url", "image_url": {"url": data_uri(IMAGE)[:200]}})),
        with_image(noise_image(1000, 1000)),
        with_image(guided_regex="("),
        with_image(mode="no such"),
        with_image(table_format="markdown"),
    ],
    ids=["a damaged image", "a prompt too long", "a bad structure", "a bad field", "fields that do not go together"],
)
def test_a_refused_request_leaves_nothing_behind(engine: Engine, body: dict[str, Any]) -> None:
    assert client_of(engine).post(CHAT, json=body).status_code == 400
    wait_until(lambda: nothing_is_left(engine), engine)


@pytest.mark.parametrize(
    ("keys", "rush", "quiet"),
    [
        (Keys(f"alice:{ALICE},bob:{BOB}"), {"Authorization": f"Bearer {ALICE}"}, {"Authorization": f"Bearer {BOB}"}),
        (None, {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}),
    ],
    ids=["by key", "by address"],
)
def test_one_request_among_another_clients_two_hundred_is_next(
    engine: Engine, keys: Keys | None, rush: dict[str, str], quiet: dict[str, str]
) -> None:
    """uvicorn takes the address from a proxy on this machine, unless FORWARDED_ALLOW_IPS names others."""
    body = chat(max_tokens=1)
    with serving(engine, keys=keys) as url, braked(engine) as brake, ExitStack() as sockets:
        crowd = [sockets.enter_context(send(url, body, rush)) for _ in range(200)]
        wait_until(lambda: brake.queued == 199, engine)
        one = sockets.enter_context(send(url, body, quiet))
        wait_until(lambda: brake.queued == 200, engine)
        brake.released.set()
        assert Received(one).status == 200
        assert all(Received(client).status == 200 for client in crowd)
        assert [brake.begun[0].job.client == sequence.job.client for sequence in brake.begun[:3]] == [True, False, True]


def test_one_image_among_another_clients_forty_is_decoded_among_the_next(engine: Engine) -> None:
    own, rush, quiet = noise_image(28, 56), {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
    with Decoder() as decoder, serving(engine, decoder=decoder) as url, ExitStack() as sockets:
        decoder.hold_file.set()
        crowd = [sockets.enter_context(send(url, with_image(), rush)) for _ in range(40)]
        wait_until(lambda: engine.stats().waiting == 40 and len(decoder.sizes) == IMAGES_AT_ONCE, engine)
        one = sockets.enter_context(send(url, with_image(own), quiet))
        wait_until(lambda: in_line(engine) == 41 - IMAGES_AT_ONCE, engine)
        decoder.let_go(IMAGES_AT_ONCE)
        wait_until(lambda: len(decoder.sizes) == 2 * IMAGES_AT_ONCE, engine)
        assert own.size in decoder.sizes[IMAGES_AT_ONCE:]
        decoder.let_go()
        assert all(Received(client).status == 200 for client in [one, *crowd])


def in_line(engine: Engine) -> int:
    """Requests that wait for their turn to decode an image."""
    with engine.image_turns._lock:
        return len(list(engine.image_turns._waiting))
