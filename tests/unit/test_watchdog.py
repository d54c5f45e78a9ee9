"""When a step counts as stuck."""

import logging
import time
from types import SimpleNamespace

import pytest

from engine import watchdog
from engine.watchdog import Watchdog

SECONDS = 10  # for what takes a hundredth of one


@pytest.fixture
def dog(monkeypatch: pytest.MonkeyPatch) -> Watchdog:
    monkeypatch.setattr(watchdog, "MIN_PLANNED_SECONDS", 0.01)
    monkeypatch.setattr(watchdog, "LOOK_SECONDS", 0.01)
    return Watchdog()


def wait_until_stuck(dog: Watchdog) -> str:
    end = time.monotonic() + SECONDS
    while (stuck := dog.stuck) is None:
        assert time.monotonic() < end
    return stuck


def test_a_step_that_takes_three_times_the_longest_planned_one_is_stuck_until_it_ends(dog: Watchdog) -> None:
    assert dog.stuck is None
    with dog.step("decoding 3 answers"):
        assert wait_until_stuck(dog).startswith("decoding 3 answers has taken 0.0 s; the longest planned step takes")
        assert not dog.lost
    assert dog.stuck is None


def test_a_step_that_was_stuck_does_not_raise_the_limit(dog: Watchdog) -> None:
    for _ in range(2):
        with dog.step("prefilling 1 prompt"):
            assert wait_until_stuck(dog).endswith("the longest planned step takes 0.0 s")


def test_a_longer_step_that_ended_in_time_raises_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "STUCK", 10**6)
    dog = Watchdog()
    now = iter((0.0, 7.0, 10.0, 10.0 + 7.5 * 10**6, 10.0 + 7.5 * 10**6))
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=lambda: next(now)))
    with dog.step("prefilling 1 prompt"):
        pass
    with dog.step("prefilling 1 prompt"):
        assert "the longest planned step takes 7.0 s" in str(dog.stuck)


def test_a_step_that_is_stuck_for_minutes_is_lost(dog: Watchdog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOST_SECONDS", 0.0)
    with dog.step("decoding 1 answer"):
        wait_until_stuck(dog)
        assert dog.lost
    assert not dog.lost


def test_the_log_says_once_that_a_step_is_stuck_and_where(dog: Watchdog, caplog: pytest.LogCaptureFixture) -> None:
    dog.watch()
    with dog.step("decoding 1 answer"), caplog.at_level(logging.WARNING):
        end = time.monotonic() + SECONDS
        while not caplog.messages:
            assert time.monotonic() < end
            time.sleep(0.01)
    dog.close()
    (stuck, ended) = caplog.messages
    assert stuck.startswith("The engine is stuck: decoding 1 answer has taken")
    assert "test_the_log_says_once" in stuck
    assert ended.startswith("The step that was stuck has ended: decoding 1 answer took")
