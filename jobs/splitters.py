"""The processes that split documents, a few that live long, each bounded in time and memory."""

import json
import os
import queue
import subprocess
import sys
import threading
from typing import Any

from images.decoding import BYTES_PER_PIXEL
from images.loading import ImageLimits

MEMORY = 256 * 2**20  # bytes for a splitter with its libraries
MAX_ORDERS = 200  # documents of one process, in case that something in it grows


class Splitters:
    """A pool of splitters, each with one document at a time. Thread-safe."""

    def __init__(self, count: int, max_bytes: int) -> None:
        """`max_bytes`: of a document, to size the memory."""
        memory = MEMORY + 4 * max_bytes + BYTES_PER_PIXEL * ImageLimits.max_image_pixels
        self._all = [_Splitter(memory) for _ in range(count)]
        self._idle: queue.LifoQueue[_Splitter] = queue.LifoQueue()
        for splitter in self._all:
            self._idle.put(splitter)

    def ask(self, order: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """The reply to an order; None if the splitter crashed or took too long, and was ended."""
        splitter = self._idle.get()
        try:
            return splitter.ask(order, seconds)
        finally:
            self._idle.put(splitter)

    def close(self) -> None:
        """End the processes, even in the middle of a document."""
        for splitter in self._all:
            splitter.end()


class _Splitter:
    """One process, started when it is needed, and anew after it has ended."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None
        self._served = 0  # orders

    def ask(self, order: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        process = self._process or self._start()
        clock = threading.Timer(seconds, process.kill)
        clock.start()
        reply = _exchange(process, order)
        clock.cancel()
        self._served += 1
        if reply is None or self._served >= MAX_ORDERS:
            self.end()
        return reply

    def end(self) -> None:
        process, self._process, self._served = self._process, None, 0
        if process is not None:
            process.kill()
            process.communicate()

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(  # noqa: S603 - a module of ours
            [sys.executable, "-P", "-m", "jobs.splitter", str(self._memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        )
        return self._process


def _exchange(process: subprocess.Popen[bytes], order: dict[str, Any]) -> dict[str, Any] | None:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        reply = json.loads(process.stdout.readline())
    except (OSError, ValueError):
        return None
    return reply if isinstance(reply, dict) else None
