"""Separate processes that decode images and documents, each bounded in time and memory.

Decoding untrusted bytes may hang, exhaust memory or crash; here that ends a process which does nothing else. Both ends
of the protocol are in this file: `DecoderProcesses` in the server, and `python -m images.processes`, which imports only
Pillow and PDFium. Each process has its own socket, so that the death of one harms no other (a ProcessPoolExecutor
breaks as a whole, Pebble's workers share one pipe). Processes reply in JSON and raw pixels, never in pickles, so that a
compromised decoder cannot run code in the server. A process ends when its socket closes.
"""

import contextlib
import json
import logging
import os
import queue
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from PIL import Image

from images import decoding
from images.errors import DecoderEnded, DecoderUnavailable, InvalidImage
from images.pdf import PAGE_PIXELS

logger = logging.getLogger(__name__)

FRAME = struct.Struct("!IQ")  # bytes of the JSON message, bytes of the data that follows it
MAX_MESSAGE = 2**16  # bytes of JSON
SECONDS_TO_START = 60.0  # imports, on a machine that is loading a model
SECONDS_TO_NOTICE = 2  # after the limit, for the server to end the process; then the kernel does
NICE = 10  # the model's threads come first
MEMORY = 256 * 2**20  # bytes for a process with its libraries, the file's own and a PDF's page
BAND_PIXELS = 2**16  # fits into a processor's cache


class DecoderProcesses:
    """A pool of a few decoder processes, each for one file at a time. Thread-safe."""

    def __init__(self, count: int, seconds: float, max_pixels: int, max_bytes: int) -> None:
        """`seconds`: limit for one image or page; `max_pixels`, `max_bytes`: largest request, to size the memory."""
        memory = MEMORY + decoding.BYTES_PER_PIXEL * max_pixels + 4 * max_bytes
        max_pixels = max(max_pixels, 2 * PAGE_PIXELS)
        self._all = [_Process(seconds, memory, max_pixels) for _ in range(count)]
        self._idle: queue.LifoQueue[_Process] = queue.LifoQueue()
        for process in self._all:
            self._idle.put(process)

    def start(self) -> None:
        """Start all processes, so that the first requests need not wait for them."""
        for process in self._all:
            process.start()

    def close(self) -> None:
        """End the processes, even in the middle of a file."""
        for process in self._all:
            process.close()

    def open_file(self, data: bytes, max_pixels: int, max_pages: int, password: str | None = None) -> Image.Image | int:
        """As `decoding.open_file`. Raises ImageError."""
        return self._ask({"max_pixels": max_pixels, "max_pages": max_pages, "password": password}, data)

    def open_page(self, data: bytes, number: int, max_pixels: int, password: str | None = None) -> Image.Image:
        """As `decoding.open_page`. Raises ImageError."""
        image = self._ask({"number": number, "max_pixels": max_pixels, "password": password}, data)
        assert isinstance(image, Image.Image)
        return image

    def _ask(self, request: dict[str, Any], data: bytes) -> Image.Image | int:
        process = self._idle.get()
        try:
            return process.ask(request, data)
        finally:
            self._idle.put(process)


class _Process:
    """One decoder process, restarted after it has ended."""

    def __init__(self, seconds: float, memory: int, max_pixels: int) -> None:
        """`memory`: limit in bytes; `max_pixels`: limit of its replies."""
        self._seconds, self._memory, self._max_pixels = seconds, memory, max_pixels
        self._closed = False
        self._lock = threading.Lock()  # held while the process starts or ends
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._ready = False

    def start(self) -> None:
        """Raises DecoderUnavailable."""
        with self._lock:
            if self._closed:
                raise DecoderUnavailable("the server is shutting down")
            self._socket, theirs = socket.socketpair()
            command = [sys.executable, "-P", "-m", __name__, str(self._seconds), str(self._memory)]
            # Let it find the modules that this process finds, however this one was started.
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
            try:
                with theirs:
                    self._process = subprocess.Popen(  # noqa: S603 - this very file
                        command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=environment
                    )
            except OSError as error:
                self._socket.close()
                raise DecoderUnavailable(f"a decoder cannot be started: {error}") from error
            self._ready = False

    def close(self) -> None:
        self._closed = True
        self._end()

    def ask(self, request: dict[str, Any], data: bytes) -> Image.Image | int:
        """The decoder's reply; tried twice, since another cause, such as the OOM killer, may end the first process.

        Raises ImageError.
        """
        for again in (False, True):
            connection = self._ready_socket()
            try:
                deadline = time.monotonic() + self._seconds
                _send(connection, request, data, deadline)
                return self._reply(connection, deadline)
            except TimeoutError:
                self._end()
                logger.warning("A decoder was ended: a file took longer than %g seconds", self._seconds)
                raise DecoderEnded(f"it takes longer than {self._seconds:g} seconds to decode") from None
            except (EOFError, OSError, ValueError, LookupError, TypeError) as error:  # also a malformed reply
                code = self._end()
                logger.warning("A decoder ended with %s while it read a file%s", code, ", twice" if again else "")
                if again:
                    raise DecoderEnded("it cannot be decoded: the decoder crashed over it") from error
        raise AssertionError("the loop returns or raises")

    def _reply(self, connection: socket.socket, deadline: float) -> Image.Image | int:
        """Raises InvalidImage, and ValueError, LookupError or TypeError for a reply that no sound decoder sends."""
        message, _ = _receive(connection, deadline, 0)
        if "refused" in message:
            raise InvalidImage(str(message["refused"]))
        if "pages" in message:
            return int(message["pages"])
        width, height = int(message["width"]), int(message["height"])
        if width * height > self._max_pixels:
            raise ValueError
        image = Image.new("RGB", (width, height))
        image.info[decoding.WARNINGS] = [str(warning)[:1000] for warning in message.get("warnings", [])]
        for top, rows in _bands(width, height):
            pixels = _read(connection, 3 * width * rows, deadline)
            image.paste(Image.frombytes("RGB", (width, rows), pixels), (0, top))
        return image

    def _ready_socket(self) -> socket.socket:
        if self._process is None or self._process.poll() is not None:
            self._end()
            self.start()
        connection = self._socket
        if connection is None:
            raise DecoderUnavailable("the server is shutting down")
        if not self._ready:
            try:
                _receive(connection, time.monotonic() + SECONDS_TO_START, 0)
            except (EOFError, OSError, ValueError) as error:
                raise DecoderUnavailable(f"a decoder did not start; it ended with {self._end()}") from error
            self._ready = True
        return connection

    def _end(self) -> int | None:
        """Kill the process, if there is one; returns its exit code."""
        with self._lock:
            if self._process is None or self._socket is None:
                return None
            self._process.kill()
            code = self._process.wait()
            self._socket.close()
            self._process = self._socket = None
            return code


# The protocol, for both ends


def _send(connection: socket.socket, message: dict[str, Any], data: bytes = b"", deadline: float | None = None) -> None:
    encoded = json.dumps(message).encode()
    connection.settimeout(_left(deadline))
    connection.sendall(FRAME.pack(len(encoded), len(data)) + encoded)
    connection.settimeout(_left(deadline))
    connection.sendall(data)


def _receive(
    connection: socket.socket, deadline: float | None = None, max_data: int | None = None
) -> tuple[dict[str, Any], bytearray]:
    """A message and its data, of at most `max_data` bytes. Raises EOFError, TimeoutError, OSError, ValueError."""
    length, size = FRAME.unpack(_read(connection, FRAME.size, deadline))
    if length > MAX_MESSAGE or (max_data is not None and size > max_data):
        raise ValueError
    message = json.loads(_read(connection, length, deadline))
    return message, _read(connection, size, deadline)


def _bands(width: int, height: int) -> Iterator[tuple[int, int]]:
    """An image's rows in bands (first, count) that fit into a processor's cache, where copying is fast."""
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        yield top, min(rows, height - top)


def _read(connection: socket.socket, count: int, deadline: float | None) -> bytearray:
    data = bytearray(count)
    rest = memoryview(data)
    while rest:
        connection.settimeout(_left(deadline))
        received = connection.recv_into(rest)
        if not received:
            raise EOFError
        rest = rest[received:]
    return data


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.001, deadline - time.monotonic())


# The decoder process


def main(seconds: float, memory: int) -> None:
    """Serve requests until the server closes the socket, which is the standard input, or is gone."""
    _yield_to_server(memory)
    _silence_libraries()
    with socket.socket(fileno=os.dup(0)) as connection, contextlib.suppress(EOFError, OSError):
        Image.init()
        _send(connection, {})
        while True:
            request, data = _receive(connection)
            signal.setitimer(signal.ITIMER_REAL, seconds + SECONDS_TO_NOTICE)  # in case the server is gone
            _answer(connection, request, bytes(data))
            signal.setitimer(signal.ITIMER_REAL, 0)
            del data  # free the memory while waiting


def _answer(connection: socket.socket, request: dict[str, Any], data: bytes) -> None:
    try:
        result = decoding.open_page(data, **request) if "number" in request else decoding.open_file(data, **request)
    except InvalidImage as error:
        _send(connection, {"refused": str(error)[:1000]})
        return
    if isinstance(result, int):
        _send(connection, {"pages": result})
        return
    told = {"warnings": result.info.get(decoding.WARNINGS, [])}
    _send(connection, {"width": result.width, "height": result.height} | told)
    for top, rows in _bands(*result.size):
        connection.sendall(result.crop((0, top, result.width, top + rows)).tobytes())


def _yield_to_server(memory: int) -> None:
    """Give the server precedence in cores and memory, and leave signals to it."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal and a service manager signal every process
        signal.signal(number, signal.SIG_IGN)
    os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))
    for kind, limit in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # Linux only
        score.write("500")  # when memory runs out, the kernel should kill this process and not the server


def _silence_libraries() -> None:
    """Discard what libtiff writes about a file straight to the standard error. Tracebacks still go there."""
    sys.stderr = open(os.dup(2), "w", buffering=1)  # noqa: SIM115 - stays open
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
