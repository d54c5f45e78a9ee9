"""Clients over real sockets, an engine that stops where a test says so, and hosts and decoders that wait."""

import http.client
import json
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import httpx
import pytest
from PIL import Image

from api.app import create_app
from api.keys import Keys
from api.serving import Serving
from engine.engine import Engine
from engine.request import Sequence as EngineSequence
from engine.scheduler import Step
from images import decoding
from images.fetching import FetchLimits
from images.loading import ImageLimits
from tests.http.scraping import CHAT
from tests.http.served import MAX_REQUEST_BYTES, MODEL
from tests.http.sockets import SECONDS, served
from tests.payloads import chat, image_part, user
from tests.prompts import noise_image

IMAGE = noise_image(112, 84)
LATE = {"x-request-timeout": "1"}  # long enough for a request to reach the engine first, on a loaded machine too


def wait_until(condition: Callable[[], bool], engine: Engine) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, engine.stats()
        time.sleep(0.005)


def nothing_is_left(engine: Engine) -> bool:
    stats = engine.stats()
    return stats.running == stats.waiting == stats.waiting_bytes == 0 and stats.free_slots == engine.slots


@dataclass
class Brake:
    """Stops an engine between two steps where `where` is true, until it is released; aborts still take effect."""

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
        brake.begun += [sequence for sequence in step.prefill if sequence not in brake.begun]
        if brake.released.is_set() or not brake.where(step):
            return run(step)
        brake.stands.set()
        time.sleep(0.001)  # a step takes time, and other threads need the lock
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.runner, "run", step)
        yield brake
        brake.released.set()


def send(
    url: str, body: dict[str, Any], headers: Mapping[str, str] = MappingProxyType({}), buffer: int | None = None
) -> socket.socket:
    """A client that has sent its request and does not read yet."""
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


@contextmanager
def serving(engine: Engine, keys: Keys | None = None, **serving: Any) -> Iterator[str]:
    limits = ImageLimits(max_pages=4, fetching=FetchLimits(allowed_hosts=("127.0.0.1",)))
    app = create_app(max_request_bytes=MAX_REQUEST_BYTES, keys=keys)
    app.state.serving = Serving(engine=engine, model=MODEL, limits=limits, **serving)
    with served(engine, app) as url:
        yield url


class SilentHost:
    """A host that accepts connections and never answers."""

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
        """The connection over which it is asked."""
        return self._listening.accept()[0]


class Decoder:
    """The real decoder, but it waits at a file, or at a page after the first."""

    def __init__(self) -> None:
        self.hold_file, self.asked = threading.Event(), threading.Event()
        self._passes = threading.Semaphore(0)
        self.sizes: list[tuple[int, int]] = []  # sizes of the images, as they come
        self.images: list[weakref.ref[Image.Image]] = []

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()

    def let_go(self, count: int = 1000) -> None:
        """Let `count` more files or pages pass, waiting now or later."""
        self._passes.release(count)

    def open_file(self, data: bytes, max_pixels: int, max_pages: int, password: str | None = None) -> Image.Image | int:
        found = decoding.open_file(data, max_pixels, max_pages, password)
        if isinstance(found, Image.Image):
            self.sizes.append(found.size)
            self.images.append(weakref.ref(found))
        if self.hold_file.is_set():
            self._wait()
        return found

    def open_page(self, data: bytes, number: int, max_pixels: int, password: str | None = None) -> Image.Image:
        if number:
            self._wait()
        return decoding.open_page(data, number, max_pixels, password)

    def _wait(self) -> None:
        self.asked.set()
        assert self._passes.acquire(timeout=SECONDS)


SMALL = 4096  # bytes of a socket's buffer
