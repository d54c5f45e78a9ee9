"""Processes apart that decode images and documents, each bounded in time and memory.

What decodes a stranger's bytes may hang, take all memory or crash; here that ends a process which does nothing else.
Both ends of the conversation are in this file: `Decoders` in the server, and `python -m images.processes`, which
imports Pillow and PDFium only. Each process has a socket of its own, so that one that dies harms no other (a
ProcessPoolExecutor breaks as a whole, Pebble's workers share one pipe), and it is answered in JSON and raw pixels,
never in pickles, so that a decoder that was taken over cannot run code in the server. It ends when its socket does.
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
from images.pdf import PAGE_PIXELS, UndecodableError

logger = logging.getLogger(__name__)

FRAME = struct.Struct("!IQ")  # bytes of what is said in JSON, bytes of what comes with it
MAX_SAID = 2**16  # bytes of JSON
SECONDS_TO_START = 60.0  # imports, on a machine that is loading a model
SECONDS_TO_NOTICE = 2  # after the limit, for the server to end it; then the kernel does
NICE = 10  # the model's threads come first
MEMORY = 256 * 2**20  # bytes for a process with its libraries, the file's own and a PDF's page
BAND_PIXELS = 2**16  # what fits into a processor's cache
BYTES_A_PIXEL = 32  # while an image is decoded, turned and put on white


class DecoderError(Exception):
    """A decoder cannot be started, which is no image's fault."""


class EndedDecoderError(UndecodableError):
    """A decoder hung or crashed over a file, and was ended."""


class Decoders:
    """A few processes, each for one file at a time. For many threads."""

    def __init__(self, count: int, seconds: float, max_pixels: int, max_bytes: int) -> None:
        """`seconds`: for one image or page; `max_pixels`, `max_bytes`: the most that will be asked, for memory."""
        memory = MEMORY + BYTES_A_PIXEL * max_pixels + 4 * max_bytes
        max_pixels = max(max_pixels, 2 * PAGE_PIXELS)
        self._all = [_Process(seconds, memory, max_pixels) for _ in range(count)]
        self._idle: queue.LifoQueue[_Process] = queue.LifoQueue()
        for process in self._all:
            self._idle.put(process)

    def start(self) -> None:
        """So that the first requests need not wait for it."""
        for process in self._all:
            process.start()

    def close(self) -> None:
        """Ends the processes and whatever they do."""
        for process in self._all:
            process.close()

    def open_file(self, data: bytes, max_pixels: int, max_pages: int) -> Image.Image | int:
        """As `decoding.open_file`. Raises UndecodableError, DecoderError."""
        return self._ask({"max_pixels": max_pixels, "max_pages": max_pages}, data)

    def open_page(self, data: bytes, number: int, max_pixels: int) -> Image.Image:
        """As `decoding.open_page`. Raises UndecodableError, DecoderError."""
        found = self._ask({"number": number, "max_pixels": max_pixels}, data)
        assert isinstance(found, Image.Image)
        return found

    def _ask(self, question: dict[str, Any], data: bytes) -> Image.Image | int:
        process = self._idle.get()
        try:
            return process.ask(question, data)
        finally:
            self._idle.put(process)


class _Process:
    """One decoder, started again when it has ended."""

    def __init__(self, seconds: float, memory: int, max_pixels: int) -> None:
        """`memory`: bytes that it may take; `max_pixels`: that it may answer with."""
        self._seconds, self._memory, self._max_pixels = seconds, memory, max_pixels
        self._closed = False
        self._lock = threading.Lock()  # of starting and ending
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._ready = False

    def start(self) -> None:
        with self._lock:
            if self._closed:
                raise DecoderError("the server is shutting down")
            self._socket, theirs = socket.socketpair()
            command = [sys.executable, "-P", "-m", __name__, str(self._seconds), str(self._memory)]
            # It finds what this process finds, however that was started.
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
            try:
                with theirs:
                    self._process = subprocess.Popen(  # noqa: S603 - this very file
                        command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=environment
                    )
            except OSError as error:
                self._socket.close()
                raise DecoderError(f"a decoder cannot be started: {error}") from error
            self._ready = False

    def close(self) -> None:
        self._closed = True
        self._end()

    def ask(self, question: dict[str, Any], data: bytes) -> Image.Image | int:
        """Raises UndecodableError, DecoderError."""
        for again in (False, True):  # what ended it may have been meant for another, such as the kernel, out of memory
            connection = self._ready_socket()
            try:
                deadline = time.monotonic() + self._seconds
                _send(connection, question, data, deadline)
                return self._reply(connection, deadline)
            except UndecodableError:
                raise
            except TimeoutError:
                self._end()
                logger.warning("A decoder was ended: a file took longer than %g seconds", self._seconds)
                raise EndedDecoderError(f"it takes longer than {self._seconds:g} seconds to decode") from None
            except (EOFError, OSError, ValueError, LookupError, TypeError) as error:  # also for what makes no sense
                code = self._end()
                logger.warning("A decoder ended with %s while it read a file%s", code, ", twice" if again else "")
                if again:
                    raise EndedDecoderError("it cannot be decoded: the decoder crashed over it") from error
        raise AssertionError("either answered or raised")

    def _reply(self, connection: socket.socket, deadline: float) -> Image.Image | int:
        """Raises UndecodableError, and ValueError, LookupError or TypeError for what a sound decoder never says."""
        said, _ = _receive(connection, deadline, 0)
        if "refused" in said:
            raise UndecodableError(str(said["refused"]))
        if "pages" in said:
            return int(said["pages"])
        width, height = int(said["width"]), int(said["height"])
        if width * height > self._max_pixels:
            raise ValueError
        image = Image.new("RGB", (width, height))
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
            raise DecoderError("the server is shutting down")
        if not self._ready:
            try:
                _receive(connection, time.monotonic() + SECONDS_TO_START, 0)
            except (EOFError, OSError, ValueError) as error:
                raise DecoderError(f"a decoder did not start; it ended with {self._end()}") from error
            self._ready = True
        return connection

    def _end(self) -> int | None:
        """Its exit code."""
        with self._lock:
            if self._process is None or self._socket is None:
                return None
            self._process.kill()
            code = self._process.wait()
            self._socket.close()
            self._process = self._socket = None
            return code


# What goes over the socket, both ways


def _send(connection: socket.socket, said: dict[str, Any], data: bytes = b"", deadline: float | None = None) -> None:
    words = json.dumps(said).encode()
    connection.settimeout(_left(deadline))
    connection.sendall(FRAME.pack(len(words), len(data)) + words)
    connection.settimeout(_left(deadline))
    connection.sendall(data)


def _receive(
    connection: socket.socket, deadline: float | None = None, most: int | None = None
) -> tuple[dict[str, Any], bytearray]:
    """`most`: bytes beside the words. Raises EOFError, TimeoutError, OSError, ValueError."""
    length, size = FRAME.unpack(_read(connection, FRAME.size, deadline))
    if length > MAX_SAID or (most is not None and size > most):
        raise ValueError
    said = json.loads(_read(connection, length, deadline))
    return said, _read(connection, size, deadline)


def _bands(width: int, height: int) -> Iterator[tuple[int, int]]:
    """An image's rows, a few at a time, as (first, count): what fits into a processor's cache is copied fast."""
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        yield top, min(rows, height - top)


def _read(connection: socket.socket, count: int, deadline: float | None) -> bytearray:
    data = bytearray(count)
    rest = memoryview(data)
    while rest:
        connection.settimeout(_left(deadline))
        got = connection.recv_into(rest)
        if not got:
            raise EOFError
        rest = rest[got:]
    return data


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.001, deadline - time.monotonic())


# In the process apart


def main(seconds: float, memory: int) -> None:
    """Answer until the server is gone or closes the socket, which is the standard input."""
    _step_back(memory)
    _silence_libraries()
    with socket.socket(fileno=os.dup(0)) as connection, contextlib.suppress(EOFError, OSError):
        Image.init()
        _send(connection, {})
        while True:
            question, data = _receive(connection)
            signal.setitimer(signal.ITIMER_REAL, seconds + SECONDS_TO_NOTICE)  # nobody may be left to end it
            _answer(connection, question, bytes(data))
            signal.setitimer(signal.ITIMER_REAL, 0)
            del data  # not to be held while it waits


def _answer(connection: socket.socket, question: dict[str, Any], data: bytes) -> None:
    try:
        found = decoding.open_page(data, **question) if "number" in question else decoding.open_file(data, **question)
    except UndecodableError as error:
        _send(connection, {"refused": str(error)[:1000]})
        return
    if isinstance(found, int):
        _send(connection, {"pages": found})
        return
    _send(connection, {"width": found.width, "height": found.height})
    for top, rows in _bands(*found.size):
        connection.sendall(found.crop((0, top, found.width, top + rows)).tobytes())


def _step_back(memory: int) -> None:
    """Behind the server, in all: cores, memory, signals, which are the server's to act on."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal and a service manager tell every process
        signal.signal(number, signal.SIG_IGN)
    os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))
    for kind, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # on Linux
        score.write("500")  # where the machine's memory runs out, the server is to stay


def _silence_libraries() -> None:
    """libtiff writes to the standard error what it thinks of a file, past all logging. Tracebacks still go there."""
    sys.stderr = open(os.dup(2), "w", buffering=1)  # noqa: SIM115 - for good
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
