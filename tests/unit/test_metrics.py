"""Reports of the engine to its observer, which the metrics are made of."""

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.engine import Engine
from engine.launches import Stopwatch
from engine.repetition import RepetitionLimits
from engine.request import REPETITION
from engine.scheduler import Step
from engine.stats import Report, Totals
from models.protocol import Sliced
from tests.engines import answer, collect, running_engine, submit
from tests.prompts import noise_image

SECONDS = 10  # for what takes milliseconds


class Observed:
    """An engine of one slot, and all that it reports."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.reports: list[Report] = []
        self.idle = threading.Event()
        engine.observer = self._take

    def _take(self, report: Report) -> None:
        self.reports.append(report)
        if report.stats.running == report.stats.waiting == 0:
            self.idle.set()

    @property
    def queued(self) -> list[float]:
        return [seconds for report in self.reports for seconds in report.queued]

    @property
    def gaps(self) -> list[float]:
        return [seconds for report in self.reports for seconds in report.gaps]


@pytest.fixture(scope="module")
def one_slot(checkpoint: Path) -> Iterator[Engine]:
    with running_engine(checkpoint, slots=1) as engine:
        yield engine


@pytest.fixture
def observed(one_slot: Engine) -> Observed:
    return Observed(one_slot)


def test_the_request_that_warms_the_model_up_is_not_counted(checkpoint: Path) -> None:
    with running_engine(checkpoint) as engine:
        assert engine.stats().totals == Totals()


def test_every_token_but_the_first_has_a_gap(observed: Observed) -> None:
    started = time.monotonic()
    answer(observed.engine, max_tokens=5, ignore_eos=True)
    assert len(observed.gaps) == 4
    assert 0 < sum(observed.gaps) < time.monotonic() - started


def test_what_waits_for_a_slot_says_how_long(observed: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = observed.engine.runner
    assert runner is not None
    run, both_are_in = runner.run, threading.Event()

    def run_when_told(step: Step) -> Any:
        both_are_in.wait(SECONDS)
        return run(step)

    monkeypatch.setattr(runner, "run", run_when_told)

    async def two() -> None:
        generations = [await submit(observed.engine, max_tokens=20, ignore_eos=True) for _ in range(2)]
        both_are_in.set()
        await asyncio.gather(*map(collect, generations))

    asyncio.run(two())
    _, second = observed.queued
    assert second > sum(observed.gaps[:19])  # all that the first one took
    assert max(report.stats.waiting for report in observed.reports) == 1
    assert max(report.stats.cache_usage for report in observed.reports) == 1


def test_a_request_whose_images_are_being_prepared_waits(one_slot: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert one_slot.processor is not None
    prepare, may_end = one_slot.processor.prepare, threading.Event()

    def prepare_when_told(*arguments: Any) -> Any:
        may_end.wait(SECONDS)
        return prepare(*arguments)

    monkeypatch.setattr(one_slot.processor, "prepare", prepare_when_told)

    async def waiting() -> int:
        request = asyncio.create_task(submit(one_slot, max_tokens=1))
        await asyncio.sleep(0)  # its first part
        seen = one_slot.stats().waiting
        may_end.set()
        await collect(await request)
        return seen

    assert asyncio.run(waiting()) == 1
    assert one_slot.stats().waiting == 0


def test_a_report_comes_before_the_end_that_it_is_about(observed: Observed) -> None:
    """A client that has its answer finds it counted."""

    async def at_its_end() -> Report:
        await collect(await submit(observed.engine, max_tokens=2, ignore_eos=True))
        return observed.reports[-1]

    before = observed.engine.stats().totals.generation_tokens
    report = asyncio.run(at_its_end())
    assert report.stats.running == 0
    assert report.stats.totals.generation_tokens - before == 2


def test_an_abort_is_reported_too(observed: Observed) -> None:
    async def leave() -> None:
        generation = await submit(observed.engine, ignore_eos=True)
        await anext(aiter(generation))
        observed.idle.clear()
        generation.abort()

    asyncio.run(leave())
    assert observed.idle.wait(SECONDS)


def test_a_loop_that_is_cut_counts_as_one(observed: Observed) -> None:
    before = observed.engine.stats().totals.repetition_cuts
    always_x = {observed.engine.encode_text("x")[-1]: 100.0}
    events = answer(observed.engine, max_tokens=200, logit_bias=always_x, repetition=RepetitionLimits())
    assert events[-1].stop_reason == REPETITION
    assert observed.engine.stats().totals.repetition_cuts - before == 1


def test_an_observer_that_fails_ends_no_request(one_slot: Engine) -> None:
    def fail(_: Report) -> None:
        raise OSError("the disk is full")

    one_slot.observer = fail
    assert answer(one_slot, max_tokens=2)[-1].finish_reason is not None
    assert one_slot.observer is None


def test_an_image_is_a_hit_whether_its_features_or_its_slot_are_cached(observed: Observed) -> None:
    def ask(*seeds: int) -> Totals:
        async def run() -> None:
            await collect(
                await submit(observed.engine, [noise_image(112, 84, seed=seed) for seed in seeds], max_tokens=1)
            )

        asyncio.run(run())
        return observed.engine.stats().totals

    before = ask(1)
    in_the_slot = ask(1)
    ask(2)  # takes the slot
    by_features = ask(1)
    assert (in_the_slot.images - before.images, in_the_slot.image_hits - before.image_hits) == (1, 1)
    assert (by_features.images - before.images, by_features.image_hits - before.image_hits) == (3, 2)
    assert by_features.image_pixels - before.image_pixels == 112 * 84  # the other image's


def test_time_between_the_slices_of_the_vision_tower_is_not_its_own(
    one_slot: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert one_slot.runner is not None
    prefill = one_slot.runner.prefill
    now = itertools.count()  # a second passes at each look
    monkeypatch.setattr("engine.prefill.time.monotonic", lambda: float(next(now)))

    def work() -> Sliced[None]:
        yield
        yield

    timed = prefill._timed(work())
    before = prefill.totals.vision_seconds
    for _ in timed:
        prefill.pause()
        next(now)  # the clients' turn
    assert prefill.totals.vision_seconds - before == 3


def test_time_that_a_gpu_is_still_busy_with_the_vision_tower_is_added_later(
    one_slot: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug: the host waited for the end of each image to learn its time."""
    assert one_slot.runner is not None
    prefill = one_slot.runner.prefill
    watch = SimpleNamespace(start=lambda: None, stop=lambda: None, seconds=lambda: 2.0, finished=False)
    monkeypatch.setattr("engine.prefill.Stopwatch", lambda _device: watch)

    def work() -> Sliced[None]:
        yield

    before = prefill.totals.vision_seconds
    list(prefill._timed(work()))
    assert prefill.totals.vision_seconds == before
    watch.finished = True
    prefill.add_times()
    assert prefill.totals.vision_seconds == before + 2.0


class Event:
    """Stands in for CUDA's: a kernel of 500 ms runs between any two."""

    waited = False
    made = 0

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing
        self.at = 0

    def record(self) -> None:
        self.at = Event.made
        Event.made += 1

    def synchronize(self) -> None:
        Event.waited = True

    def elapsed_time(self, end: "Event") -> float:
        assert Event.waited
        return 500.0 * (end.at - self.at)


def test_a_gpu_is_asked_by_its_own_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    watch = Stopwatch(torch.device("cuda"))
    for _ in range(3):
        with watch:
            pass
    assert watch.seconds() == 1.5
