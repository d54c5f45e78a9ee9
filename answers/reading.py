"""One answer: the pages of its task read in order, the next ones already on their way while one is read out."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from answers.transcript import Transcript
from engine.engine import Engine
from engine.handles import Generation, Hold
from engine.request import SamplingParams, Times, TokenEvent
from images.loading import decoded_bytes
from models.protocol import PixelBounds
from modes.choose import Prompt

PAGE_SEPARATOR = "\n\n---\n\n"  # Markdown's thematic break
PAGES_AHEAD = 2  # submitted beyond the one that is read out


@dataclass
class Page:
    """A prompt whose images are opened when it is submitted."""

    prompt: Prompt
    bounds: list[PixelBounds]  # of each image
    again: bool = False  # it is submitted more than once, and its images are kept in memory meanwhile
    sizes: list[tuple[int, int]] = field(default_factory=list)  # of each image, once opened: width, height

    def followed_by(self, *turns: tuple[str, str]) -> "Page":
        """The same with more turns of role and text."""
        more = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
        return Page(replace(self.prompt, messages=[*self.prompt.messages, *more]), self.bounds)

    async def submit(self, engine: Engine, params: Sequence[SamplingParams], hold: Hold) -> list[Generation]:
        """Raises ApiError, EngineError."""
        async with hold.turn():
            images = await self._images()
        drawn = [image for image, source in zip(images, self.prompt.images, strict=True) if source.page]
        hold.reserve_bytes(sum(map(decoded_bytes, drawn)))  # others are counted since they were decoded
        generations = await engine.submit_all(self.prompt.messages, images, params, self.bounds, hold)
        if not self.again:
            self.prompt = replace(self.prompt, images=[])
        return generations

    async def tokens(self, engine: Engine) -> list[int]:
        """Of the prompt, placeholders of images included. Raises ApiError, EngineError."""
        return await engine.tokenize(self.prompt.messages, await self._images(), self.bounds)

    async def _images(self) -> list[Image.Image]:
        images = [await asyncio.to_thread(image.open) for image in self.prompt.images]
        self.sizes = [image.size for image in images]
        return images


class Reading:
    def __init__(
        self, engine: Engine, pages: Sequence[Page], first: Generation, params: SamplingParams, hold: Hold
    ) -> None:
        """`first`: the first page's, in the queue already."""
        self.transcript = Transcript()  # of all pages, as the model writes it
        self.page = 0  # that the newest event is of
        self.pages = pages
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.completion_tokens = 0
        self.hold = hold
        self._engine = engine
        self._params = params
        self._generations = [first]
        self._rest = list(pages[1:])
        self._ahead: list[asyncio.Task[Generation]] = []

    async def events(self) -> AsyncIterator[TokenEvent]:
        """The events of all pages as those of one answer, each in the transcript by then.

        Between pages comes an event without a token, their separator. `keep_chars` counts from the beginning of the
        answer. An end of a page that is not the last loses its reason; the answer ends with the first reason that is
        not a plain end. Raises ApiError, EngineError.
        """
        start = 0  # of the page in the transcript
        async for event in self._events():
            self.transcript.add(event.text, None if event.token is None else event.token.logprob)
            if event.last:
                self.transcript.end()
            kept = None if event.keep_chars is None else start + event.keep_chars
            yield replace(event, keep_chars=kept)
            if event.token is None:
                self.page += 1
                start = len(self.transcript.text)

    async def _events(self) -> AsyncIterator[TokenEvent]:
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
            self.cached_tokens += event.cached_tokens
            generation = await self._next()
            if generation is not None:
                yield replace(event, finish_reason=None, stop_reason=None)
                yield TokenEvent(PAGE_SEPARATOR, self.completion_tokens)
        why = next((end for end in ends if (end.finish_reason, end.stop_reason) != ("stop", None)), ends[-1])
        yield replace(ends[-1], finish_reason=why.finish_reason, stop_reason=why.stop_reason)

    @property
    def times(self) -> list[Times]:
        """Of its pages, as far as they are queued."""
        return [generation.times for generation in self._generations]

    def abort(self) -> None:
        for task in self._ahead:
            task.cancel()
        for generation in self._generations:
            generation.abort()

    def _look_ahead(self) -> None:
        while self._rest and len(self._ahead) < PAGES_AHEAD:
            self._ahead.append(asyncio.create_task(self._submit(self._rest.pop(0))))

    async def _next(self) -> Generation | None:
        return await self.hold.unless_ended(self._ahead.pop(0)) if self._ahead else None

    async def _submit(self, page: Page) -> Generation:
        (generation,) = await page.submit(self._engine, [self._params], self.hold)
        self._generations.append(generation)
        return generation
