"""One answer: the pages of its task read in order, the next ones already on their way while one is read out."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from engine.engine import Engine, Generation
from engine.errors import QueueFull
from engine.request import SamplingParams, TokenEvent
from models.paddleocr_vl.prompts import PixelBounds
from modes.choose import Prompt

PAGE_SEPARATOR = "\n\n---\n\n"  # Markdown's thematic break
PAGES_AHEAD = 2  # submitted beyond the one that is read out


@dataclass(frozen=True)
class Page:
    """A prompt whose pictures are not opened yet."""

    prompt: Prompt
    bounds: list[PixelBounds]  # of each picture

    async def submit(self, engine: Engine, params: Sequence[SamplingParams]) -> list[Generation]:
        """Raises ApiError, EngineError."""
        return await engine.submit_all(self.prompt.messages, await self._pictures(), params, self.bounds)

    async def tokens(self, engine: Engine) -> list[int]:
        """Of the prompt, placeholders of pictures included. Raises ApiError, EngineError."""
        return await engine.tokenize(self.prompt.messages, await self._pictures(), self.bounds)

    async def _pictures(self) -> list[Image.Image]:
        return [await asyncio.to_thread(picture.open) for picture in self.prompt.pictures]


class Reading:
    def __init__(self, engine: Engine, first: Generation, rest: Sequence[Page], params: SamplingParams) -> None:
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._engine = engine
        self._params = params
        self._generations = [first]
        self._rest = list(rest)
        self._ahead: list[asyncio.Task[Generation]] = []

    async def events(self) -> AsyncIterator[TokenEvent]:
        """The events of all pages as those of one answer, page separators between them.

        An end of a page that is not the last keeps its `keep_chars`, which counts from the beginning of the page, and
        loses its reason; the answer ends with the first reason that is not a plain end. Raises ApiError, EngineError.
        """
        ends: list[TokenEvent] = []
        generation: Generation | None = self._generations[0]
        while generation is not None:
            self.prompt_tokens += generation.prompt_tokens
            self._look_ahead()
            before = self.completion_tokens
            async for event in generation:
                self.completion_tokens = before + event.completion_tokens
                event = replace(event, completion_tokens=self.completion_tokens)
                if not event.last:
                    yield event
            ends.append(event)
            generation = await self._next()
            if generation is not None:
                yield replace(event, finish_reason=None, stop_reason=None)
                yield TokenEvent(PAGE_SEPARATOR, self.completion_tokens)
        why = next((end for end in ends if (end.finish_reason, end.stop_reason) != ("stop", None)), ends[-1])
        yield replace(ends[-1], finish_reason=why.finish_reason, stop_reason=why.stop_reason)

    def abort(self) -> None:
        for task in self._ahead:
            task.cancel()
        for generation in self._generations:
            generation.abort()

    def _look_ahead(self) -> None:
        while self._rest and len(self._ahead) < PAGES_AHEAD:
            self._ahead.append(asyncio.create_task(self._submit(self._rest.pop(0))))

    async def _next(self) -> Generation | None:
        return await self._ahead.pop(0) if self._ahead else None

    async def _submit(self, page: Page) -> Generation:
        """The document has been let in: where its next page finds the queue full, it waits."""
        while True:
            try:
                (generation,) = await page.submit(self._engine, [self._params])
            except QueueFull as full:
                await asyncio.sleep(full.retry_after)
            else:
                self._generations.append(generation)
                return generation
