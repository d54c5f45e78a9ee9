"""A reading: the prompts of one answer in order, the next ones in the queue while one is generated."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

from answers.events import AnswerEvent, TokenUsage
from answers.prompts import PendingPrompt, StraightImage, Submitted
from answers.transcript import Transcript
from engine.engine import Engine
from engine.handles import Hold
from engine.request import Times, TokenEvent
from layout.markdown.options import PAGE_SEPARATOR

PROMPTS_AHEAD = 2  # submitted beyond the one that is generated


class Reading:
    """What the model writes for one choice: prompts, each in a mode of its own, joined into one transcript.

    Prompts may be added while `events` runs, until the reading is closed.
    """

    def __init__(self, *, engine: Engine, hold: Hold, choice: int, cut_repeats: bool) -> None:
        """`choice`: which of a prompt's params apply; `cut_repeats`: the transcript loses the repeats of a loop."""
        self.transcript = Transcript()  # all prompts' text, as the model writes it
        self.usage = TokenUsage()
        self.prompts: list[PendingPrompt] = []
        self.hold = hold
        self._engine = engine
        self._choice = choice
        self._cut_repeats = cut_repeats
        self._first: Submitted | None = None  # until its events are read
        self._generations: list[Submitted] = []
        self._submitted: list[asyncio.Task[Submitted]] = []  # in order, ahead of the one that is generated
        self._next_prompt = 0  # index of the first prompt that is not submitted
        self._closed = False
        self._changed = asyncio.Event()  # a prompt was added, or the reading closed

    def begin(self, prompt: PendingPrompt, generation: Submitted) -> None:
        """Add the first prompt, which is in the queue already."""
        self.prompts.append(prompt)
        self._next_prompt += 1
        self._first = generation
        self._generations.append(generation)

    def add(self, prompts: Iterable[PendingPrompt]) -> None:
        """Append prompts; they are submitted when their turn comes near."""
        assert not self._closed
        self.prompts += prompts
        self._changed.set()

    def close(self) -> None:
        """End the answer with the prompts that it has."""
        self._closed = True
        self._changed.set()

    async def events(self) -> AsyncIterator[AnswerEvent]:
        """Events of all prompts as those of one answer; each is in the transcript when it is yielded.

        `keep_chars` counts from the beginning of the answer. A page that is not the last loses its finish reason; the
        answer ends with the first reason that is not a plain end. Raises ImageError, EngineError.
        """
        ends: list[TokenEvent] = []
        generation = await self._next_generation()
        while generation is not None:
            page, start = len(ends), len(self.transcript.text)
            self._submit_ahead()
            async for event in self.usage.counted(generation):
                if not event.last:
                    yield self._recorded(event, page, start)
            ends.append(event)
            generation = await self._next_generation()
            if generation is not None:
                yield self._recorded(replace(event, finish_reason=None, stop_reason=None), page, start)
                place = len(self.transcript.text)
                self.transcript.add(PAGE_SEPARATOR, None)
                yield AnswerEvent(
                    kind="separator",
                    text=PAGE_SEPARATOR,
                    place=place,
                    page=page,
                    completion_tokens=self.usage.completion,
                )
        why = next((end for end in ends if (end.finish_reason, end.stop_reason) != ("stop", None)), ends[-1])
        yield self._recorded(
            replace(ends[-1], finish_reason=why.finish_reason, stop_reason=why.stop_reason), page, start
        )

    def _recorded(self, event: TokenEvent, page: int, start: int) -> AnswerEvent:
        """The event, added to the transcript; `start`: characters before its page."""
        place = len(self.transcript.text)
        self.transcript.add(event.text, None if event.token is None else event.token.logprob)
        if event.last:
            self.transcript.end()
        keep = None if event.keep_chars is None else start + event.keep_chars
        if keep is not None and self._cut_repeats:
            self.transcript.cut(keep)
        return AnswerEvent(
            kind="token",
            text=event.text,
            place=place,
            page=page,
            completion_tokens=self.usage.completion,
            token=event.token,
            end_token=event.end_token,
            keep_chars=keep,
            finish_reason=event.finish_reason,
            stop_reason=event.stop_reason,
        )

    @property
    def images(self) -> int:
        """Images of its prompts."""
        return sum(len(pending.bounds) for pending in self.prompts)

    @property
    def straightened(self) -> list[StraightImage]:
        """Those that were turned upright or flattened, as far as they are submitted."""
        return [
            StraightImage(size, angle)
            for pending in self.prompts
            for size, angle in zip(pending.image_sizes, pending.angles, strict=False)
        ]

    @property
    def times(self) -> list[Times]:
        """Times of its prompts, as far as they are queued."""
        return [generation.times for generation in self._generations]

    def abort(self) -> None:
        for task in self._submitted:
            task.cancel()
        for generation in self._generations:
            generation.abort()

    def _submit_ahead(self) -> None:
        while self._next_prompt < len(self.prompts) and len(self._submitted) < PROMPTS_AHEAD:
            prompt = self.prompts[self._next_prompt]
            self._next_prompt += 1
            self._submitted.append(asyncio.create_task(self._submit(prompt)))

    async def _next_generation(self) -> Submitted | None:
        """The next prompt's generation; waits for a prompt while the reading is open. None: there are no more."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        self._submit_ahead()
        while not self._submitted and not self._closed:
            self._changed.clear()
            await self.hold.unless_ended(asyncio.create_task(self._changed.wait()))
            self._submit_ahead()
        return await self.hold.unless_ended(self._submitted.pop(0)) if self._submitted else None

    async def _submit(self, prompt: PendingPrompt) -> Submitted:
        (generation,) = await prompt.submit(self._engine, self.hold, [prompt.params[self._choice]])
        self._generations.append(generation)
        return generation
