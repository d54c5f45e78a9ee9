"""Who is let in: so many requests as run and wait, with so many bytes of images; for others, when to come back.

From any thread.
"""

import math
import threading
import time
from collections import Counter, deque

from engine.errors import InvalidRequest, QueueFull
from engine.request import Job

RATE_WINDOW = 32  # finished requests that the service rate is measured over
NEWCOMERS_SHARE = 4  # who has nothing inside finds a full queue open for one more in so many


class Admission:
    def __init__(self, slots: int, max_waiting: int, max_bytes: int) -> None:
        """`slots` requests run at once, `max_waiting` more may wait; `max_bytes` is of the images they wait with."""
        self._slots = slots
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._lock = threading.Lock()  # under which all below changes
        self._inside = 0  # requests that are let in and not gone
        self._bytes = 0  # of images that wait
        self._requests_of: Counter[str] = Counter()  # client -> its share of either
        self._bytes_of: Counter[str] = Counter()
        self._busy = 0.0  # seconds in which somebody was inside, up to when that last began or ended
        self._since = 0.0
        self._finished_at: deque[float] = deque(maxlen=RATE_WINDOW)  # in busy seconds: nights lower no rate

    def admit(self, job: Job, count: int) -> None:
        """Let in `count` requests of an answer, all or none. Raises InvalidRequest, QueueFull.

        Those of an answer that has begun are not turned away any more.
        """
        with self._lock:
            if not job.begun:
                self._check_room(job, count)
            if not self._inside:
                self._since = time.monotonic()
            self._inside += count
            self._requests_of[job.client] += count

    def _check_room(self, job: Job, count: int) -> None:
        most = self._slots + self._max_waiting
        if count > most:
            raise InvalidRequest(f"n is {count}; this server takes {most} at once", "n")
        waiting = self._inside - self._slots
        if waiting + count > _room(self._max_waiting, self._requests_of[job.client]):
            raise QueueFull(f"{max(0, waiting)} requests are waiting already", self._retry_after(waiting))

    def leave(self, job: Job, count: int = 1) -> None:
        """Requests are gone, however they ended."""
        with self._lock:
            self._inside -= count
            _lower(self._requests_of, job.client, count)
            if count and not self._inside:
                self._busy += time.monotonic() - self._since

    def reserve_bytes(self, job: Job, count: int) -> None:
        """An answer's images need `count` more bytes while they wait. Raises QueueFull, unless it has begun.

        One that is too big beside others is let in where no other waits with an image: limits on a single request are
        not drawn here.
        """
        if not count:
            return
        with self._lock:
            own = self._bytes_of[job.client] - job.bytes
            full = self._bytes + count > _room(self._max_bytes, own)
            if full and not job.begun and self._bytes > job.bytes:
                said = f"images of {self._bytes / 2**20:.0f} MiB are waiting already"
                raise QueueFull(said, self._retry_after(self._inside - self._slots))
            job.bytes += count
            self._bytes += count
            self._bytes_of[job.client] += count

    def release_bytes(self, job: Job, count: int) -> None:
        """So many bytes of an answer's images wait no longer."""
        with self._lock:
            job.bytes -= count
            self._bytes -= count
            _lower(self._bytes_of, job.client, count)

    @property
    def inside(self) -> int:
        """Requests that are let in and not gone."""
        return self._inside

    @property
    def bytes(self) -> int:
        """Of images that wait to be read."""
        return self._bytes

    def count_finished(self) -> None:
        """One was answered: what the rate is measured by."""
        with self._lock:
            self._finished_at.append(self._busy_seconds())

    def _busy_seconds(self) -> float:
        return self._busy + (time.monotonic() - self._since if self._inside else 0.0)

    def _retry_after(self, waiting: int) -> int:
        """Seconds in which the queue empties at the rate of the last requests; 1 where none is known."""
        if len(self._finished_at) < 2:
            return 1
        rate = (len(self._finished_at) - 1) / max(1e-3, self._busy_seconds() - self._finished_at[0])
        return max(1, math.ceil(waiting / rate))


def _room(most: int, own: int) -> int:
    """What may wait in all for one more of a client that has `own` inside: another's rush does not shut it out."""
    return most if own else most + most // NEWCOMERS_SHARE


def _lower(counter: Counter[str], client: str, count: int) -> None:
    """Clients that have nothing inside are forgotten."""
    counter[client] -= count
    if not counter[client]:
        del counter[client]
