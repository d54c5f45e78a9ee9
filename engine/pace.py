"""How much prefill comes between two decode steps: for how long, and how many slices that is."""

import time
from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from typing import Protocol

import torch

from engine.launches import Stopwatch
from engine.request import Sequence
from models.protocol import Result, Sliced

# Decode steps that prefill may take between two of them. Of streamed answers a gap stays below four steps of a single
# row, with one step of eight rows. Others wait for each other, since a step of eight rows hardly takes longer than of
# one: with 16, some four answers of 64 tokens run beside the prefill of images on a CPU, with gaps of 0.3 s.
STREAMED_STEPS, WHOLE_STEPS = 2.1, 16.0
IDLE_SECONDS = 0.1  # prefill while nothing runs, before new requests and aborts are handled
MEASURED_STEPS = 64  # decode steps


class Pace:
    """The time limit of prefill in one step, from recent decode steps."""

    def __init__(self) -> None:
        self._decode_seconds: deque[float] = deque(maxlen=MEASURED_STEPS)

    def observe(self, seconds: float) -> None:
        """Add the time of a decode step."""
        self._decode_seconds.append(seconds)

    def prefill_seconds(self, running: Collection[Sequence]) -> float:
        """Seconds of prefill before the next decode step, which is that of `running`.

        By the fastest recent step, which was disturbed least.
        """
        if not running or not self._decode_seconds:
            return IDLE_SECONDS
        streamed = any(sequence.job.streamed for sequence in running)
        return (STREAMED_STEPS if streamed else WHOLE_STEPS) * min(self._decode_seconds)


class Watch(Protocol):
    """Measures the time that the device spends on what is launched between start and stop."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def seconds(self) -> float:
        """Waits until the device has finished it."""


class Slices(Protocol):
    """Runs the slices of a group of prompts, for a limited time at once."""

    def begin(self) -> None:
        """Another group is next."""

    def advance(self, work: Sliced[Result], seconds: float) -> Result | None:
        """Run slices for that long, at least one; the result once all are done."""


class TimedSlices:
    """`Slices` for a device that works in step with the host: one by one, until the next one may not fit."""

    def __init__(self) -> None:
        self._longest = 0.0  # seconds of the group's longest slice so far

    def begin(self) -> None:
        self._longest = 0.0

    def advance(self, work: Sliced[Result], seconds: float) -> Result | None:
        started = now = time.monotonic()
        try:
            while True:
                next(work)
                before, now = now, time.monotonic()
                self._longest = max(self._longest, now - before)
                if now + self._longest - started > seconds:  # the next slice may take as long
                    return None
        except StopIteration as end:
            result: Result = end.value
            return result


class LaunchedSlices:
    """`Slices` for a device that works asynchronously: as many are launched at once as fit by what the last ones took.

    No more are launched before the last ones are done, so the device is never further behind than one limit of time.
    The host waits for them while the device works on the decode step that was launched after them.
    """

    def __init__(self, watch: Callable[[], Watch]) -> None:
        self._new_watch = watch
        self._launched: tuple[Watch, int] | None = None  # the slices launched last, and how many
        self._slice_seconds = float("inf")  # by the last ones; none yet: one slice is tried

    def begin(self) -> None:
        self._learn()
        self._slice_seconds = float("inf")  # the last group's may have been much shorter

    def advance(self, work: Sliced[Result], seconds: float) -> Result | None:
        self._learn()
        limit = max(1, int(seconds / self._slice_seconds))
        watch, count = self._new_watch(), 0
        watch.start()
        try:
            while count < limit:
                next(work)
                count += 1
            return None
        except StopIteration as end:
            result: Result = end.value
            return result
        finally:
            watch.stop()
            self._launched = watch, max(1, count)

    def _learn(self) -> None:
        """Wait for the slices launched last. Few may be of the short kinds: one more counts as if it had run."""
        if self._launched is not None:
            watch, count = self._launched
            self._launched = None
            self._slice_seconds = max(1e-6, watch.seconds() / count * (1 + 1 / count))


def slices_for(device: torch.device) -> Slices:
    """The kind of slices that suits how `device` works."""
    return LaunchedSlices(partial(Stopwatch, device)) if device.type == "cuda" else TimedSlices()
