"""Admission: limits on requests and on the bytes of their images; rejected ones hear when to retry.

From any thread.
"""

import math
import threading
import time
from collections import Counter, deque

from engine.errors import InvalidRequest, QueueFull
from engine.request import Job

RATE_WINDOW = 32  # finished requests that the service rate is measured over
NEWCOMERS_SHARE = 4  # a full queue has room for 1/4 more, for clients that have nothing in it


class Admission:
    """Counts the requests and image bytes in the engine, and decides which further ones are admitted."""

    def __init__(self, slots: int, max_waiting: int, max_bytes: int) -> None:
        """`slots` requests run at once, `max_waiting` more may wait; `max_bytes`: of the images of waiting requests."""
        self.slots = slots  # set again once the model is loaded
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._lock = threading.Lock()  # guards all fields below
        self._inside = 0  # requests that were admitted and have not left
        self._bytes = 0  # images that wait
        self._requests_of: Counter[str] = Counter()  # by client
        self._bytes_of: Counter[str] = Counter()  # by client
        self._busy = 0.0  # seconds with a request inside, up to the last change from or to none
        self._since = 0.0  # when the first of the requests inside was admitted, monotonic
        self._finished_at: deque[float] = deque(maxlen=RATE_WINDOW)  # in busy seconds: idle time lowers no rate

    def admit(self, job: Job, count: int) -> None:
        """Admit `count` requests of an answer, all or none. Raises InvalidRequest, QueueFull.

        Requests of an answer that has begun are always admitted.
        """
        with self._lock:
            if not job.begun:
                self._check_room(job, count)
            if not self._inside:
                self._since = time.monotonic()
            self._inside += count
            self._requests_of[job.client] += count

    def _check_room(self, job: Job, count: int) -> None:
        limit = self.slots + self._max_waiting
        if count > limit:
            raise InvalidRequest(f"n is {count}; this server takes {limit} at once", "n")
        waiting = self._inside - self.slots
        if waiting + count > _limit(self._max_waiting, self._requests_of[job.client]):
            raise QueueFull(f"{max(0, waiting)} requests are waiting already", self._retry_after(waiting))

    def leave(self, job: Job, count: int = 1) -> None:
        """Count requests out, however they ended."""
        with self._lock:
            self._inside -= count
            _lower(self._requests_of, job.client, count)
            if count and not self._inside:
                self._busy += time.monotonic() - self._since

    def reserve_bytes(self, job: Job, count: int) -> None:
        """Count bytes of an answer's images, until they are released. Raises QueueFull, unless it has begun.

        An answer beyond the limit is admitted where no other waits with an image: the size of a single request is
        limited elsewhere.
        """
        if not count:
            return
        with self._lock:
            own = self._bytes_of[job.client] - job.bytes
            full = self._bytes + count > _limit(self._max_bytes, own)
            if full and not job.begun and self._bytes > job.bytes:
                reason = f"images of {self._bytes / 2**20:.0f} MiB are waiting already"
                raise QueueFull(reason, self._retry_after(self._inside - self.slots))
            job.bytes += count
            self._bytes += count
            self._bytes_of[job.client] += count

    def release_bytes(self, job: Job, count: int) -> None:
        """Count out bytes of an answer's images that no longer wait."""
        with self._lock:
            job.bytes -= count
            self._bytes -= count
            _lower(self._bytes_of, job.client, count)

    @property
    def inside(self) -> int:
        """Requests that were admitted and have not left."""
        return self._inside

    @property
    def bytes(self) -> int:
        """Bytes of images that wait for prefill."""
        return self._bytes

    def count_finished(self) -> None:
        """Count a finished request, for the service rate."""
        with self._lock:
            self._finished_at.append(self._busy_seconds())

    def _busy_seconds(self) -> float:
        return self._busy + (time.monotonic() - self._since if self._inside else 0.0)

    def _retry_after(self, waiting: int) -> int:
        """Seconds until the queue is empty at the rate of the last requests; 1 where the rate is unknown."""
        if len(self._finished_at) < 2:
            return 1
        rate = (len(self._finished_at) - 1) / max(1e-3, self._busy_seconds() - self._finished_at[0])
        return max(1, math.ceil(waiting / rate))


def _limit(limit: int, own: int) -> int:
    """The limit for a client that has `own` inside already; higher for one that has none, so no other shuts it out."""
    return limit if own else limit + limit // NEWCOMERS_SHARE


def _lower(counter: Counter[str], client: str, count: int) -> None:
    """Subtract; clients without anything inside are dropped."""
    counter[client] -= count
    if not counter[client]:
        del counter[client]
