"""The core: what the engine's thread does with submitted sequences, step after step, and how each of them ends.

Everything runs on that thread, except `stats`. The core knows neither how sequences arrive nor when the thread ends.
"""

import time
from collections import abc
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine.acceptance import accept, event_of
from engine.admission import Admission
from engine.errors import DeadlineExceeded, EngineError, GenerationFailed, UnexpectedFailure
from engine.pages import Page, Pages
from engine.preparation import Preparation
from engine.request import Job, Sequence, Token, TokenEvent
from engine.scheduler import Scheduler, counted
from engine.slots import Slots
from engine.stats import Stats
from engine.watchdog import Watchdog

if TYPE_CHECKING:
    from engine.model_runner import ModelRunner


class Core:
    """The step of an engine: schedule, run, accept; and the sequences that it works on."""

    def __init__(
        self,
        *,
        runner: "ModelRunner",
        preparation: Preparation,
        admission: Admission,
        watchdog: Watchdog,
        report: Callable[[abc.Sequence[float], abc.Sequence[float]], None],
    ) -> None:
        """`report` is called after a step, before its events are delivered, with a Report's `queued` and `gaps`."""
        self.scheduler = Scheduler(Slots(runner.slots, dense=runner.dense_slots), runner.max_prefill_tokens)
        self.pages = Pages(runner.look.at_once)
        self._pages_last = False  # the last step's time was theirs, not prefill's
        self._totals = runner.totals
        self._runner = runner
        self._preparation = preparation
        self._admission = admission
        self._watchdog = watchdog
        self._report = report

    def stats(self) -> Stats:
        """From any thread."""
        scheduler = self.scheduler
        slots = scheduler.slots
        running = len(scheduler.prefilling) + len(scheduler.running)
        return Stats(
            running=running,
            waiting=max(0, self._admission.inside - running),
            waiting_bytes=self._admission.bytes,
            free_slots=slots.free,
            cache_usage=1 - slots.free / slots.count if slots.count else 0.0,
            image_cache_bytes=self._runner.image_cache_bytes,
            totals=replace(self._totals),
        )

    @property
    def idle(self) -> bool:
        return self.scheduler.idle and self.pages.idle

    def step(self) -> None:
        """Schedule, run, accept. Raises the model's fault, if requests failed because of one.

        Where prompts wait for prefill and pages to be looked at, the time between decode steps is theirs by turns.
        """
        self._end_late()
        step, pages = self.scheduler.schedule(), self.pages.schedule()
        queued = mark_scheduled(step.prefill)
        self._pages_last = looking = bool(pages) and not (step.prefill and self._pages_last)
        looked = self._look_at(pages, step.decode) if looking else []
        with self._watchdog.step(str(step)):
            outcomes = self._runner.run(replace(step, pausing=looking))
        self._accept(outcomes, queued)
        if any(isinstance(outcome, UnexpectedFailure) for _, outcome in [*looked, *outcomes]):
            with self._watchdog.step("trying the model out"):
                self._accept(self._runner.land())
                self.try_out()  # if the model is at fault and not the requests, this ends the thread

    def _look_at(self, pages: abc.Sequence[Page], running: abc.Sequence[Sequence]) -> list[tuple[Page, Any]]:
        """Look at pages for a while, and give their callers what has come of it."""
        with self._watchdog.step(f"looking at {counted(pages, 'page')}"):
            looked = self._runner.look_at(pages, running)
        for page, outcome in looked:
            if page in self.pages:
                self.pages.remove(page)
                page.settle(outcome)
        return looked

    def drop_page(self, page: Page, error: EngineError | None = None) -> None:
        """End a page from outside a step: with an error, or cancelled. Harmless once it has ended."""
        if page not in self.pages:
            return
        self.pages.remove(page)
        if self.pages.idle:
            self._runner.look.drop()  # no step comes that would end the work
        page.settle(error)

    def try_out(self) -> None:
        """Run a small image and two tokens through the model, and a page through the networks that look at pages.

        Raises the fault of one that has a fault.

        At start, so that readiness means that all have worked; later, where a step failed because of either the
        model or a request. No step is in flight then.
        """
        sequence = self._preparation.trial()
        scheduler = Scheduler(self.scheduler.slots)  # a scheduler of its own, with one of the free slots
        scheduler.add(sequence)
        while len(sequence.tokens) < 2:
            for _, outcome in self._runner.run(scheduler.schedule()):
                if isinstance(outcome, GenerationFailed):
                    raise outcome
                sequence.tokens.append(outcome.id)
        self._runner.land()
        scheduler.remove(sequence, failed=True)
        self._runner.try_pages()

    def finish(self, sequence: Sequence, error: EngineError | None) -> None:
        """End a sequence from outside a step: with an error event, or silently for an abort."""
        if sequence not in self.scheduler:
            return
        self._remove(sequence, failed=error is not None)
        if error is not None:
            self._publish([(sequence, event_of(sequence, "", error=error))])

    def abandon(self, job: Job) -> None:
        """Abort all sequences and pages of an answer."""
        for sequence in [one for one in self.scheduler if one.job is job]:
            self.finish(sequence, None)
        for page in [one for one in self.pages if one.job is job]:
            self.drop_page(page)

    def end_all(self, error: EngineError) -> None:
        for sequence in list(self.scheduler):
            self.finish(sequence, error)
        for page in list(self.pages):
            self.drop_page(page, error)

    def _end_late(self) -> None:
        now = time.monotonic()
        for sequence in list(self.scheduler):
            deadline = sequence.job.deadline
            if deadline is not None and deadline.at <= now:
                self.finish(sequence, DeadlineExceeded(deadline.seconds))
        for page in list(self.pages):
            deadline = page.job.deadline
            if deadline is not None and deadline.at <= now:
                self.drop_page(page, DeadlineExceeded(deadline.seconds))

    def _accept(
        self, outcomes: abc.Sequence[tuple[Sequence, Token | GenerationFailed]], queued: abc.Sequence[float] = ()
    ) -> None:
        """Accept the outcomes of a step, report them to the observer, publish their events."""
        events = [
            (sequence, self._accept_one(sequence, outcome))
            for sequence, outcome in outcomes
            if sequence in self.scheduler  # a step may find tokens beyond an answer's end
        ]
        self._report(queued, self._count_tokens(events))
        self._publish(events)

    def _accept_one(self, sequence: Sequence, outcome: Token | GenerationFailed) -> TokenEvent:
        event = accept(sequence, outcome)
        if event.last:
            if event.keep_chars is not None:
                self._totals.repetition_cuts += 1
            self._remove(sequence, failed=event.error is not None)
            self._admission.count_finished()
        return event

    def _count_tokens(self, events: abc.Sequence[tuple[Sequence, TokenEvent]]) -> list[float]:
        """Count a step's tokens; the seconds from each to the token before it."""
        now = time.monotonic()
        gaps = []
        for sequence, event in events:
            if event.token is None:
                continue
            if sequence.token_at is None:
                sequence.began_at = now
                self._release_images(sequence)
                sequence.prompt = sequence.prompt.without_pixels()
                self._totals.prompt_tokens += len(sequence.prompt.input_ids)
            else:
                gaps.append(now - sequence.token_at)
            sequence.token_at = now
            self._totals.generation_tokens += 1
        return gaps

    def _remove(self, sequence: Sequence, *, failed: bool) -> None:
        self.scheduler.remove(sequence, failed=failed)
        self._release_images(sequence)
        self._admission.leave(sequence.job)

    def _release_images(self, sequence: Sequence) -> None:
        """Its images no longer wait: they have been prefilled, or never will be."""
        self._admission.release_bytes(sequence.job, sequence.image_bytes)
        sequence.image_bytes = 0

    def _publish(self, events: abc.Sequence[tuple[Sequence, TokenEvent]]) -> None:
        """Deliver the events of one step, in one call for each event loop."""
        loops: dict[Any, list[tuple[Sequence, TokenEvent]]] = {}
        for sequence, event in events:
            loops.setdefault(sequence.loop, []).append((sequence, event))
        for loop, batch in loops.items():
            if loop is None:
                _deliver(batch)
                continue
            try:
                loop.call_soon_threadsafe(_deliver, batch)
            except RuntimeError:  # the loop is closed: its callers are gone
                for sequence, event in batch:
                    if not event.last:
                        self.finish(sequence, None)


def mark_scheduled(sequences: abc.Sequence[Sequence]) -> list[float]:
    """Note the time for those that have just got a slot; the seconds that each of them waited for it."""
    now = time.monotonic()
    new = [sequence for sequence in sequences if sequence.scheduled_at is None]
    for sequence in new:
        sequence.scheduled_at = now
    return [now - sequence.submitted_at for sequence in new]


def _deliver(events: abc.Sequence[tuple[Sequence, TokenEvent]]) -> None:
    for sequence, event in events:
        sequence.deliver(event)
