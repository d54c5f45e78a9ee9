"""How long prompts are prefilled between decode steps, and how many slices are launched for that."""

from collections.abc import Iterator

import pytest

from engine.pace import IDLE_SECONDS, STREAMED_STEPS, WHOLE_STEPS, LaunchedSlices, Pace, TimedSlices
from engine.request import Job, Sequence
from models.protocol import Sliced
from tests.sequences import bare_sequence


def running(*streamed: bool) -> list[Sequence]:
    """A sequence of an answer that is streamed or not, for each."""
    return [bare_sequence((1,), job=Job(streamed=one)) for one in streamed]


def test_prefill_between_decode_steps_is_bounded_by_the_fastest_recent_one() -> None:
    pace = Pace()
    for seconds in (0.05, 0.04, 0.2):
        pace.observe(seconds)
    assert pace.prefill_seconds(running(True)) == STREAMED_STEPS * 0.04


def test_answers_that_are_not_streamed_wait_longer() -> None:
    """Bug: they were mostly decoded one by one, since each was finished before the next image had been prefilled."""
    pace = Pace()
    pace.observe(0.04)
    assert pace.prefill_seconds(running(False, False)) == WHOLE_STEPS * 0.04
    assert pace.prefill_seconds(running(False, True)) == STREAMED_STEPS * 0.04


def test_while_nothing_runs_prefill_pauses_only_for_new_requests_and_aborts() -> None:
    pace = Pace()
    pace.observe(0.001)
    assert pace.prefill_seconds([]) == IDLE_SECONDS


class Device:
    """Works asynchronously: slices are launched at once and take time until a watch is waited for."""

    def __init__(self, *seconds: float) -> None:
        """`seconds` that each slice takes; the last of them is that of all others too."""
        self._seconds = seconds
        self.launched: list[float] = []  # seconds of each slice
        self.behind = 0.0  # seconds of work that is launched and not done
        self.furthest_behind = 0.0

    def slices(self, count: int) -> Sliced[str]:
        for _ in range(count):
            self.launched.append(self._seconds[min(len(self.launched), len(self._seconds) - 1)])
            self.behind += self.launched[-1]
            self.furthest_behind = max(self.furthest_behind, self.behind)
            yield
        return "logits"


class Watch:
    def __init__(self, device: Device) -> None:
        self._device = device

    def start(self) -> None:
        self._began = len(self._device.launched)

    def stop(self) -> None:
        self._ended = len(self._device.launched)

    def seconds(self) -> float:
        self._device.behind = 0.0
        return sum(self._device.launched[self._began : self._ended])


def rounds(device: Device, slices: LaunchedSlices, count: int, seconds: float) -> Iterator[int]:
    """The number of slices in each round of a group of `count`."""
    work = device.slices(count)
    while True:
        before = len(device.launched)
        result = slices.advance(work, seconds)
        yield len(device.launched) - before
        if result is not None:
            assert result == "logits"
            return


def test_as_many_slices_are_launched_at_once_as_fit_by_the_last_ones() -> None:
    device = Device(0.001)
    slices = LaunchedSlices(lambda: Watch(device))
    slices.begin()
    counts = list(rounds(device, slices, 60, 0.0101))
    assert counts[:4] == [1, 5, 8, 8]  # one for a start; few measured ones are trusted less
    slices.begin()
    assert next(rounds(device, slices, 60, 0.0101)) == 1  # the next group's may be longer


def test_what_is_launched_and_not_done_never_exceeds_a_limit_that_is_known() -> None:
    """Long slices come after short ones, as in a layer of the vision tower."""
    device = Device(*(0.001, 0.002, 0.002, 0.001) * 40)
    slices = LaunchedSlices(lambda: Watch(device))
    slices.begin()
    assert sum(rounds(device, slices, 160, 0.02)) == 160
    assert device.furthest_behind <= 0.02


def test_a_group_of_longer_slices_begins_with_one() -> None:
    """Bug: after a group of short slices, as many long ones delayed streams by many times the limit."""
    device = Device(*[0.001] * 40, 0.016)
    slices = LaunchedSlices(lambda: Watch(device))
    slices.begin()
    list(rounds(device, slices, 40, 0.04))
    device.furthest_behind = 0.0
    slices.begin()
    list(rounds(device, slices, 20, 0.04))
    assert device.furthest_behind <= 0.04


def test_without_time_a_slice_is_launched_all_the_same() -> None:
    device = Device(0.001)
    assert list(rounds(device, LaunchedSlices(lambda: Watch(device)), 3, 0.0)) == [1, 1, 1, 0]


def test_in_step_with_the_device_slices_run_until_another_may_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("engine.pace.time.monotonic", lambda: now)

    def work() -> Sliced[str]:
        nonlocal now
        for seconds in (2.0, 1.0, 1.0, 3.0):
            now += seconds
            yield
        return "logits"

    slices, group = TimedSlices(), work()
    slices.begin()
    assert slices.advance(group, 5.0) is None
    assert now == 4.0
    assert slices.advance(group, 5.0) is None
    assert now == 7.0
    assert slices.advance(group, 5.0) == "logits"
