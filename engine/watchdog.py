"""Notices a step that does not end, because of a hung device or a deadlock.

It only reports: a thread inside foreign code cannot be stopped.
"""

import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

MIN_PLANNED_SECONDS = 4.0  # for a step: far above any measured one, so that a short stall raises no alarm
STUCK = 3  # times the longest planned step
LOST_SECONDS = 600.0  # after which only a new process helps
LOOK_SECONDS = 1.0


class Watchdog:
    """Measures the steps of one thread, for any thread. Whether a step is stuck depends on the longest before it."""

    def __init__(self) -> None:
        self._planned = MIN_PLANNED_SECONDS
        self._step: tuple[float, str] | None = None  # start and work
        self._thread_id = 0
        self._closed = threading.Event()

    @contextmanager
    def step(self, work: str) -> Iterator[None]:
        """Context of a step that does `work`, such as "decoding 3 answers"."""
        self._step = began, _ = time.monotonic(), work
        try:
            yield
        finally:
            self._step = None
            seconds = time.monotonic() - began
            if seconds > self._limit:
                logger.warning("The step that was stuck has ended: %s took %.1f s", work, seconds)
            else:
                self._planned = max(self._planned, seconds)

    @property
    def _limit(self) -> float:
        return STUCK * self._planned

    @property
    def stuck(self) -> str | None:
        """The work of a step that takes far too long, and its time so far; None if there is none."""
        step = self._step
        if step is None or (seconds := time.monotonic() - step[0]) <= self._limit:
            return None
        return f"{step[1]} has taken {seconds:.1f} s; the longest planned step takes {self._planned:.1f} s"

    @property
    def lost(self) -> bool:
        """A step has been stuck for so long that only a new process helps."""
        step = self._step
        return step is not None and time.monotonic() - step[0] > max(LOST_SECONDS, self._limit)

    def watch(self) -> None:
        """From now on, log each stuck step once, with its stack. Called on the thread that runs the steps."""
        self._thread_id = threading.get_ident()
        threading.Thread(target=self._look, name="watchdog", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def _look(self) -> None:
        logged: tuple[float, str] | None = None
        while not self._closed.wait(LOOK_SECONDS):
            step, reason = self._step, self.stuck
            if reason is None or step is logged:
                continue
            logged = step
            frame = sys._current_frames().get(self._thread_id)
            stack = "".join(traceback.format_stack(frame)) if frame else "unknown\n"
            logger.error("The engine is stuck: %s. Its stack:\n%s", reason, stack.rstrip())
