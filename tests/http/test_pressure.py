"""More than fits, later than wanted, slower than sent, gone before the end: over real sockets, proved by counters."""

import gc
import http.client
import json
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import pytest
from PIL import Image
from starlette.testclient import TestClient

from api import chat as chat_route
from api.app import create_app
from api.auth import Keys
from api.serving import Serving
from engine.engine import IMAGES_AT_ONCE, Engine
from engine.pace import Pace
from engine.request import Sequence as EngineSequence
from engine.scheduler import Step
from images import decoding
from images.fetching import FetchLimits
from images.loading import ImageLimits
from models.paddleocr_vl.processor import PaddleOCRVLInput
from tests.checkpoints import write_script
from tests.engines import running_engine
from tests.http.served import LIMITS, MAX_REQUEST_BYTES, MODEL, client_of
from tests.http.test_chat import user
from tests.http.test_disconnect import SECONDS, endless_engine, served
from tests.http.test_documents import document, file_part
from tests.http.test_metrics import CHAT, Scrape
from tests.payloads import chat, data_uri, image_part
from tests.prompts import noise_image
from tests.unit.test_auth import ALICE, BOB

IMAGE = noise_image(112, 84)
LATE = {"x-request-timeout": "0.2"}


def wait_until(condition: Callable[[], bool], engine: Engine) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, engine.stats()
        time.sleep(0.005)


def nothing_is_left(engine: Engine) -> bool:
    stats = engine.stats()
    return stats.running == stats.waiting == stats.waiting_bytes == 0 and stats.free_slots == engine.slots


@pytest.fixture(scope="module")
def own_engine(checkpoint: Path) -> Iterator[Engine]:
    with running_engine(checkpoint, slots=1) as engine:
        yield engine


@pytest.fixture
def engine(own_engine: Engine) -> Iterator[Engine]:
    """With one slot. Whatever a test did to it, afterwards everything is free."""
    yield own_engine
    wait_until(lambda: nothing_is_left(own_engine), own_engine)


@dataclass
class Brake:
    """Stops an engine between two steps where `where` holds, until it is released; aborts go on being heard."""

    where: Callable[[Step], bool]
    released: threading.Event = field(default_factory=threading.Event)
    stands: threading.Event = field(default_factory=threading.Event)
    begun: list[EngineSequence] = field(default_factory=list)  # in the order in which they got a slot
    queued: int = 0  # prompts that are ready for a slot


@contextmanager
def braked(engine: Engine, where: Callable[[Step], bool] = lambda _: True) -> Iterator[Brake]:
    assert engine.runner is not None
    assert engine.core is not None
    brake, run, waiting = Brake(where), engine.runner.run, engine.core.scheduler.waiting

    def step(step: Step) -> Any:
        brake.queued = sum(1 for _ in waiting)
        brake.begun += [sequence for sequence in step.reading if sequence not in brake.begun]
        if brake.released.is_set() or not brake.where(step):
            return run(step)
        brake.stands.set()
        time.sleep(0.001)  # a step takes its time, and the others need the lock
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.runner, "run", step)
        yield brake
        brake.released.set()


def send(
    url: str, body: dict[str, Any], headers: Mapping[str, str] = MappingProxyType({}), buffer: int | None = None
) -> socket.socket:
    """A client that has asked and does not read yet."""
    address, content = httpx.URL(url), json.dumps(body).encode()
    client = socket.socket()
    if buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.settimeout(60)
    client.connect((address.host, address.port))
    fields = {"Host": "here", "Content-Type": "application/json", "Content-Length": len(content), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    client.sendall(f"POST {CHAT} HTTP/1.1\r\n{head}\r\n".encode() + content)
    return client


class Received:
    """The whole answer, and the end of the connection."""

    def __init__(self, client: socket.socket) -> None:
        with client, http.client.HTTPResponse(client, method="POST") as response:
            response.begin()
            self.status, self.headers, self.text = response.status, response.headers, response.read().decode()

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)["error"]
        return found


def with_image(image: Image.Image = IMAGE, **fields: Any) -> dict[str, Any]:
    return chat(messages=user(image_part(image)), **fields)


# --- more than fits ---------------------------------------------------------------------------------------------------


def test_images_beyond_the_bytes_that_may_wait_are_429_at_once_and_texts_are_not(checkpoint: Path) -> None:
    with running_engine(checkpoint, slots=1, max_waiting_bytes=100_000) as engine, served(engine) as url:
        with braked(engine) as brake:
            first = send(url, with_image())  # alone it is over the bound, and nothing else waits
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


def test_images_count_from_their_encoded_bytes_on_until_they_are_read(engine: Engine) -> None:
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


def test_an_image_that_has_been_read_is_kept_no_longer(engine: Engine) -> None:
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


def test_a_full_queue_is_told_before_anything_is_done_for_a_request(checkpoint: Path) -> None:
    broken = chat(messages=user({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}))
    with running_engine(checkpoint, slots=1, max_waiting=0) as engine, served(engine) as url:
        with braked(engine) as brake:
            running = send(url, chat())
            wait_until(brake.stands.is_set, engine)
            assert Received(send(url, broken)).status == 429
            brake.released.set()
            assert Received(running).status == 200
        assert Received(send(url, broken)).status == 400


# --- who is next ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "rush", "quiet"),
    [
        (Keys(f"alice:{ALICE},bob:{BOB}"), {"Authorization": f"Bearer {ALICE}"}, {"Authorization": f"Bearer {BOB}"}),
        (None, {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}),
    ],
    ids=["by key", "by address"],
)
def test_one_request_beside_another_clients_two_hundred_is_next(
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


def test_one_image_beside_another_clients_forty_is_decoded_among_the_next(engine: Engine) -> None:
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
    """Requests that wait for their turn to have an image decoded."""
    with engine.image_turns._lock:
        return len(list(engine.image_turns._waiting))


# --- later than wanted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf", ""])
def test_a_time_that_is_none_is_400_and_named(engine: Engine, value: str) -> None:
    answer = client_of(engine).post(CHAT, json=chat(), headers={"x-request-timeout": value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-request-timeout")


@pytest.mark.parametrize(
    ("setting", "headers"), [(None, LATE), (600.0, LATE), (0.2, {"x-request-timeout": "600"}), (0.2, {})]
)
def test_the_earlier_deadline_ends_an_answer_with_504_and_frees_its_slot(
    engine: Engine, setting: float | None, headers: dict[str, str]
) -> None:
    with braked(engine), client_of(engine, request_seconds=setting) as client:
        answer = client.post(CHAT, json=chat(), headers=headers)
        assert answer.status_code == 504
        assert answer.json()["error"]["type"] == "timeout_error"
        assert "0.2 s" in answer.json()["error"]["message"]
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


# --- gone before the end ----------------------------------------------------------------------------------------------


@contextmanager
def serving(engine: Engine, keys: Keys | None = None, **serving: Any) -> Iterator[str]:
    limits = ImageLimits(max_pages=4, fetching=FetchLimits(allowed_hosts=("127.0.0.1",)))
    app = create_app(MAX_REQUEST_BYTES, keys=keys)
    app.state.serving = Serving(engine, MODEL, limits, **serving)
    with served(engine, app) as url:
        yield url


class SilentHost:
    """Accepts, and never answers."""

    def __enter__(self) -> "SilentHost":
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def image(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/image.png"
        return chat(messages=user({"type": "image_url", "image_url": {"url": url}}))

    def asked(self) -> socket.socket:
        """The connection over which it is."""
        return self._listening.accept()[0]


class Decoder:
    """The real one, but it waits at a file or at a page that is not the first."""

    def __init__(self) -> None:
        self.hold_file, self.asked = threading.Event(), threading.Event()
        self._passes = threading.Semaphore(0)
        self.sizes: list[tuple[int, int]] = []  # of the images, as they come
        self.images: list[weakref.ref[Image.Image]] = []

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()

    def let_go(self, count: int = 1000) -> None:
        """So many more that wait, or will, go on."""
        self._passes.release(count)

    def open_file(self, data: bytes, max_pixels: int, max_pages: int) -> Image.Image | int:
        found = decoding.open_file(data, max_pixels, max_pages)
        if isinstance(found, Image.Image):
            self.sizes.append(found.size)
            self.images.append(weakref.ref(found))
        if self.hold_file.is_set():
            self._wait()
        return found

    def open_page(self, data: bytes, number: int, max_pixels: int) -> Image.Image:
        if number:
            self._wait()
        return decoding.open_page(data, number, max_pixels)

    def _wait(self) -> None:
        self.asked.set()
        assert self._passes.acquire(timeout=SECONDS)


def test_who_leaves_in_the_middle_of_the_body_was_never_inside(engine: Engine) -> None:
    with serving(engine) as url:
        address = httpx.URL(url)
        with socket.create_connection((address.host, address.port)) as client:
            client.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\n{{".encode())
        assert Received(send(url, chat())).status == 200
        scrape = Scrape(httpx.get(f"{url}/metrics").text)
    assert scrape("http_requests_total", handler=CHAT, status="4xx") == 1
    assert scrape("paddleocr_vl:rejections_total", reason="invalid") == 0  # there was nothing wrong with it


def test_who_leaves_while_an_image_is_fetched_frees_everything_and_ends_the_fetch(engine: Engine) -> None:
    with SilentHost() as host, serving(engine) as url:
        with send(url, host.image()) as client, host.asked() as fetching:
            fetching.settimeout(SECONDS)
            assert fetching.recv(1000).startswith(b"GET /image.png")
            assert engine.stats().waiting == 1
            client.close()
            assert fetching.recv(1000) == b""
        wait_until(lambda: nothing_is_left(engine), engine)


def test_who_leaves_while_an_image_is_decoded_frees_everything(engine: Engine) -> None:
    with Decoder() as decoder, serving(engine, decoder=decoder) as url:
        decoder.hold_file.set()
        with send(url, with_image()):
            wait_until(decoder.asked.is_set, engine)
            assert engine.stats().waiting_bytes > 0
        wait_until(lambda: nothing_is_left(engine), engine)
        decoder.let_go()


def test_who_leaves_while_the_prompt_is_prepared_frees_everything(
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
def test_who_leaves_the_queue_frees_a_place_in_it(engine: Engine, stream: bool) -> None:
    with serving(engine) as url, braked(engine):
        with send(url, with_image()):
            wait_until(lambda: engine.stats().running == 1, engine)
            before = engine.stats().waiting_bytes
            with send(url, with_image(stream=stream)):
                wait_until(lambda: engine.stats().waiting == 1 and engine.stats().waiting_bytes > before, engine)
            wait_until(lambda: engine.stats().waiting == 0, engine)
            assert (engine.stats().running, engine.stats().waiting_bytes) == (1, before)
        wait_until(lambda: nothing_is_left(engine), engine)


def test_who_leaves_while_the_vision_tower_sees_the_image_frees_the_slot(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "reading_seconds", lambda *_, **__: 0.0)  # a slice a step
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
        assert Received(send(url, with_image())).status == 200  # what was begun for the other harms nobody


def test_who_leaves_between_two_pages_frees_everything(engine: Engine) -> None:
    before = engine.stats().totals.generation_tokens
    with Decoder() as decoder, serving(engine, decoder=decoder) as url:
        body = chat(messages=user(file_part(document("TIFF"))), max_tokens=3, ignore_eos=True)
        with send(url, body):
            wait_until(lambda: engine.stats().totals.generation_tokens == before + 3, engine)
            wait_until(decoder.asked.is_set, engine)
            assert engine.stats().running == 0
        wait_until(lambda: nothing_is_left(engine), engine)
        decoder.let_go()


def test_who_leaves_at_the_second_question_of_an_extraction_frees_everything(tmp_path: Path) -> None:
    folder = write_script(tmp_path / "model", "Shop", "\nTotal 1.00", "\nTotal 2.00")
    body = with_image(noise_image(200, 100), max_tokens=200)
    body["messages"][0]["content"].append({"type": "text", "text": "receipt"})
    with (
        running_engine(folder, max_model_len=1024, slots=1) as engine,
        served(engine) as url,
        braked(engine, lambda step: any(one.follows for one in step.reading)) as brake,
    ):
        with send(url, body):
            wait_until(brake.stands.is_set, engine)
            assert engine.stats().running == 1
        wait_until(lambda: nothing_is_left(engine), engine)


# --- slower than sent -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def endless(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Its answers never end by themselves; it has two slots."""
    with endless_engine(checkpoint, tmp_path_factory.mktemp("endless") / "checkpoint", slots=2) as engine:
        yield engine


FLOOD = chat(stream=True, max_tokens=None, repetition_detection=False, logprobs=True, top_logprobs=20)
SMALL = 4096  # bytes of a socket's buffer


def test_a_reader_who_does_not_read_holds_up_nobody(endless: Engine) -> None:
    with served(endless, send_buffer=SMALL) as url, send(url, FLOOD, buffer=SMALL) as asleep:
        wait_until(lambda: endless.stats().totals.generation_tokens > 1000, endless)  # several times the buffers
        assert Received(send(url, chat(max_tokens=50))).status == 200
        assert endless.stats().running == 1
        asleep.close()
        wait_until(lambda: nothing_is_left(endless), endless)


def test_a_reader_who_does_not_read_for_long_is_ended_and_its_slot_freed(
    endless: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_route, "READER_SECONDS", 0.2)
    with served(endless, send_buffer=SMALL) as url, send(url, FLOOD, buffer=SMALL):
        wait_until(lambda: endless.stats().running == 1, endless)
        wait_until(lambda: nothing_is_left(endless), endless)


# --- ends that are errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        chat(messages=user({"type": "image_url", "image_url": {"url": data_uri(IMAGE)[:-400] + "AAAA"}})),
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


# --- the server ends --------------------------------------------------------------------------------------------------


def test_a_request_whose_image_is_still_fetched_at_the_end_of_the_grace_gets_503(checkpoint: Path) -> None:
    """It was killed without a word: nothing of it was in the engine's hands yet."""
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


def test_tokenizing_images_has_its_places_in_the_queue_too(checkpoint: Path) -> None:
    with running_engine(checkpoint, slots=1, max_waiting=0) as engine:
        client: TestClient = client_of(engine, LIMITS)
        with braked(engine), served(engine) as url, send(url, chat()):
            wait_until(lambda: engine.stats().running == 1, engine)
            assert client.post("/tokenize", json={"messages": user(image_part(IMAGE))}).status_code == 429
            assert client.post("/tokenize", json={"prompt": "words"}).status_code == 200
        wait_until(lambda: nothing_is_left(engine), engine)
        assert client.post("/tokenize", json={"messages": user(image_part(IMAGE))}).status_code == 200
