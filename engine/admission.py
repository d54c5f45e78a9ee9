"""Who is let in: so many requests as run and wait at once, and for the others when to come back. From any thread."""

import math
import threading
import time
from collections import deque

from engine.errors import InvalidRequest, QueueFull

RATE_WINDOW = 32  # finished requests that the service rate is measured over


class Admission:
    def __init__(self, slots: int, max_waiting: int) -> None:
        """`slots` requests run at once, `max_waiting` more may wait."""
        self._slots = slots
        self._max_waiting = max_waiting
        self._inside = 0  # admitted and not yet gone; changed under the lock
        self._lock = threading.Lock()
        self._finished_at: deque[float] = deque(maxlen=RATE_WINDOW)

    def admit(self, count: int, *, follows: bool = False) -> None:
        """Let in all of `count` requests, or none. Raises InvalidRequest, QueueFull.

        `follows`: they belong to an answer that was let in, and are not turned away any more.
        """
        with self._lock:
            if follows:
                self._inside += count
                return
            most = self._slots + self._max_waiting
            if count > most:
                raise InvalidRequest(f"n is {count}; this server takes {most} at once", "n")
            waiting = self._inside - self._slots
            if waiting + count > self._max_waiting:
                raise QueueFull(max(0, waiting), self._retry_after(waiting))
            self._inside += count

    def leave(self, count: int = 1) -> None:
        """Requests are gone, however they ended."""
        with self._lock:
            self._inside -= count

    @property
    def inside(self) -> int:
        """Requests that are let in and not gone."""
        return self._inside

    def count_finished(self) -> None:
        """One was answered: what the rate is measured by."""
        self._finished_at.append(time.monotonic())

    def _retry_after(self, waiting: int) -> int:
        """Seconds in which the queue empties at the rate of the last requests; 1 where none is known."""
        finished = list(self._finished_at)
        if len(finished) < 2:
            return 1
        rate = (len(finished) - 1) / max(1e-3, time.monotonic() - finished[0])
        return max(1, math.ceil(waiting / rate))
