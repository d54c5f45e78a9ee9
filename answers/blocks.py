"""The prompt of a block, or of some of its lines.

It is submitted when its turn comes, and its events are kept until what is before it is written.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from answers.pages import BlockImage, Ledger
from engine.engine import Engine
from engine.errors import GenerationFailed, InvalidRequest
from engine.handles import Generation, Hold
from engine.request import SamplingParams, Times, TokenEvent
from images.source import Detail
from models.protocol import PixelBounds
from modes.registry import OFFICIAL

Params = Callable[[str], SamplingParams]
"""Sampling of a prompt in a mode of ANSWER_MODES."""

Bounds = Callable[[PixelBounds, Detail], PixelBounds]
"""Bounds on the size of a block's image, from those of its task and the detail that its page is asked in."""


class BlockPrompt:
    """A block of a page, or some of its lines, on its way through the engine."""

    def __init__(self, *, block: BlockImage, params: Params, bounds: Bounds) -> None:
        self.read = block.read
        self.between = block.task.between
        self.prompt_tokens = 0  # once it is submitted
        self.refusal: Exception | None = None  # why it could not be submitted
        self.settled = asyncio.Event()  # it is queued, or could not be
        self._block: BlockImage | None = block  # until it is submitted
        self._params, self._bounds = params, bounds
        self._events: asyncio.Queue[TokenEvent | Exception] = asyncio.Queue()
        self._generation: Generation | None = None

    async def run(self, engine: Engine, hold: Hold, ledger: Ledger) -> None:
        """Submit it and collect its events to the last; an error is kept for who reads the events."""
        try:
            self._generation = await self._submit(engine, hold, ledger)
        except Exception as error:
            self.refusal = error
            self._events.put_nowait(error)
            return
        finally:
            self.settled.set()
        self.prompt_tokens = self._generation.prompt_tokens
        try:
            async for event in self._generation:
                self._events.put_nowait(event)
        except Exception as error:
            self._events.put_nowait(error)

    async def _submit(self, engine: Engine, hold: Hold, ledger: Ledger) -> Generation:
        block, self._block = self._block, None
        assert block is not None
        task = block.task
        message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": task.prompt}]}
        bounds = self._bounds(task.bounds, block.detail)
        try:
            return await engine.submit([message], [block.image], self._params(OFFICIAL[task.prompt]), [bounds], hold)
        finally:
            ledger.release(block.bytes)

    async def __aiter__(self) -> AsyncIterator[TokenEvent]:
        """Its events up to the last. Raises EngineError."""
        while True:
            event = await self._events.get()
            if isinstance(event, Exception):
                raise event
            yield event
            if event.last:
                return

    @property
    def times(self) -> Times | None:
        """Its times, once it is queued."""
        return self._generation.times if self._generation else None

    def abort(self) -> None:
        if self._generation is not None:
            self._generation.abort()


def is_its_own(error: Exception) -> bool:
    """Whether an error is one block's alone, so that the others can be read."""
    return isinstance(error, GenerationFailed) or (isinstance(error, InvalidRequest) and error.param == "messages")
