"""The core: what the engine's thread does with the sequences that came in, step after step, and how each of them ends.

On that thread, all but `stats`. It knows neither how sequences come in nor how the thread begins and ends.
"""

import time
from collections import abc
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from engine.acceptance import accept, event_of
from engine.admission import Admission
from engine.errors import DeadlineExceeded, EngineError, GenerationFailed, UnexpectedFailure
from engine.preparation import Preparation
from engine.request import Job, SamplingParams, Sequence, Token, TokenEvent
from engine.scheduler import Scheduler
from engine.slots import Slots
from engine.stats import Stats, Totals
from engine.watchdog import Watchdog
from models.paddleocr_vl.prompts import OCR

if TYPE_CHECKING:
    from engine.model_runner import ModelRunner


class Core:
    def __init__(
        self,
        runner: "ModelRunner",
        preparation: Preparation,
        admission: Admission,
        watchdog: Watchdog,
        report: Callable[[abc.Sequence[float], abc.Sequence[float]], None],
    ) -> None:
        """`report` is called after a step, before its events reach anybody, with a Report's `queued` and `gaps`."""
        self.scheduler = Scheduler(
            Slots(runner.slots, dense=runner.decode.graphs is not None), runner.max_prefill_tokens
        )
        self._totals = runner.prefill.totals = Totals()
        self._runner = runner
        self._preparation = preparation
        self._admission = admission
        self._watchdog = watchdog
        self._report = report

    def stats(self) -> Stats:
        """From any thread."""
        scheduler = self.scheduler
        under_way = len(scheduler.reading) + len(scheduler.running)
        slots = scheduler.slots
        usage = 1 - slots.free / slots.count if slots.count else 0.0
        waiting = max(0, self._admission.inside - under_way)
        kept = self._runner.images.used
        return Stats(under_way, waiting, self._admission.bytes, slots.free, usage, kept, replace(self._totals))

    def step(self) -> None:
        """Raises what is wrong with the model, if that is why requests failed."""
        self._end_late()
        step = self.scheduler.schedule()
        queued = _queued(step.reading)
        with self._watchdog.step(str(step)):
            outcomes = self._runner.run(step)
        self._take(outcomes, queued)
        if any(isinstance(outcome, UnexpectedFailure) for _, outcome in outcomes):
            with self._watchdog.step("trying the model out"):
                self._take(self._runner.land())
                self.try_out()  # if the model is at fault and not the requests, this ends the thread

    def try_out(self) -> None:
        """Have the model read a small image and write two tokens. Raises what is wrong with it.

        At start, so that readiness means that the model has worked; later, where a step broke on what may have been
        the model or a request. No step is under way then.
        """
        prompt = self._preparation.prompt(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": OCR}]}],
            [Image.new("RGB", (56, 28), "white")],
            [self._preparation.bounds._replace(min_pixels=1)],  # scaled up to the model's least, it would take a second
        )
        sequence = self._preparation.sequence(
            prompt, SamplingParams(), grammar=None, job=Job(), deliver=lambda _: None, loop=None
        )
        scheduler = Scheduler(self.scheduler.slots)  # by itself, in one of the free slots
        scheduler.add(sequence)
        while len(sequence.tokens) < 2:
            for _, outcome in self._runner.run(scheduler.schedule()):
                if isinstance(outcome, GenerationFailed):
                    raise outcome
                sequence.tokens.append(outcome.id)
        self._runner.land()
        scheduler.remove(sequence, failed=True)

    def finish(self, sequence: Sequence, error: EngineError | None) -> None:
        """End a sequence from outside a step, with an error event or, for an abort, without a word."""
        if sequence not in self.scheduler:
            return
        self._forget(sequence, failed=error is not None)
        if error is not None:
            self._publish([(sequence, event_of(sequence, "", error=error))])

    def abandon(self, job: Job) -> None:
        for sequence in [one for one in self.scheduler if one.job is job]:
            self.finish(sequence, None)

    def end_all(self, error: EngineError) -> None:
        for sequence in list(self.scheduler):
            self.finish(sequence, error)

    def _end_late(self) -> None:
        now = time.monotonic()
        for sequence in list(self.scheduler):
            deadline = sequence.job.deadline
            if deadline is not None and deadline.at <= now:
                self.finish(sequence, DeadlineExceeded(deadline.seconds))

    def _take(
        self, outcomes: abc.Sequence[tuple[Sequence, Token | GenerationFailed]], queued: abc.Sequence[float] = ()
    ) -> None:
        """What came of a step: count it, and tell everybody."""
        events = [(sequence, self._accept(sequence, outcome)) for sequence, outcome in outcomes]
        self._report(queued, self._gaps(events))
        self._publish(events)

    def _accept(self, sequence: Sequence, outcome: Token | GenerationFailed) -> TokenEvent:
        event = accept(sequence, outcome)
        if event.last:
            if event.keep_chars is not None:
                self._totals.repetition_cuts += 1
            self._forget(sequence, failed=event.error is not None)
            self._admission.count_finished()
        return event

    def _gaps(self, events: abc.Sequence[tuple[Sequence, TokenEvent]]) -> list[float]:
        """Count a step's tokens; the times since the tokens before them."""
        now = time.monotonic()
        gaps = []
        for sequence, event in events:
            if event.token is None:
                continue
            if sequence.token_at is None:
                sequence.began_at = now
                self._count_read(sequence)
                sequence.prompt = sequence.prompt.without_pixels()
                self._totals.prompt_tokens += len(sequence.prompt.input_ids)
            else:
                gaps.append(now - sequence.token_at)
            sequence.token_at = now
            self._totals.generation_tokens += 1
        return gaps

    def _forget(self, sequence: Sequence, *, failed: bool) -> None:
        self.scheduler.remove(sequence, failed=failed)
        self._count_read(sequence)
        self._admission.leave(sequence.job)

    def _count_read(self, sequence: Sequence) -> None:
        """Its images wait no longer: they have been read, or never will be."""
        self._admission.release_bytes(sequence.job, sequence.image_bytes)
        sequence.image_bytes = 0

    def _publish(self, events: abc.Sequence[tuple[Sequence, TokenEvent]]) -> None:
        """Hand the events of one step over, in one call for each event loop."""
        loops: dict[Any, list[tuple[Sequence, TokenEvent]]] = {}
        for sequence, event in events:
            loops.setdefault(sequence.loop, []).append((sequence, event))
        for loop, batch in loops.items():
            if loop is None:
                _deliver(batch)
                continue
            try:
                loop.call_soon_threadsafe(_deliver, batch)
            except RuntimeError:  # the loop is closed: nobody is there to read
                for sequence, event in batch:
                    if not event.last:
                        self.finish(sequence, None)


def _queued(reading: abc.Sequence[Sequence]) -> list[float]:
    """How long those who have just got a slot had waited."""
    now = time.monotonic()
    new = [sequence for sequence in reading if sequence.scheduled_at is None]
    for sequence in new:
        sequence.scheduled_at = now
    return [now - sequence.submitted_at for sequence in new]


def _deliver(events: abc.Sequence[tuple[Sequence, TokenEvent]]) -> None:
    for sequence, event in events:
        sequence.deliver(event)
