"""A document read block by block: pages in order, all their blocks in one continuous batch, text in reading order."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from answers.blocks import BlockPrompt, Bounds, Params, is_its_own
from answers.events import TokenUsage
from answers.pages import Ledger, PageOpener, PageWishes
from answers.prompts import StraightImage
from answers.transcript import Transcript
from engine.engine import Engine
from engine.handles import Hold
from engine.request import REPETITION, FinishReason, Times, TokenEvent
from images.source import ImageSource
from layout.pages import ReadBlock, ReadPage

logger = logging.getLogger(__name__)

T = TypeVar("T")

PAGES_AHEAD = 1  # pages whose blocks wait until those of the page before are in the engine
BETWEEN = "\n\n"  # blocks, in the transcript


@dataclass(frozen=True, kw_only=True)
class BlockEvent:
    """One step of a document: a block begins, gets text, ends; or a page ends, after its last block."""

    kind: Literal["begin", "text", "end", "page"]
    page: ReadPage
    block: ReadBlock | None = None  # None for a page
    token: TokenEvent | None = None  # the text, where it is one
    place: int = 0  # characters of the transcript before a text
    keep_chars: int | None = None  # characters of the transcript before the repeats of a loop


@dataclass
class OpenPage:
    """A page whose blocks are known, with the prompts of those that are read, one or several each."""

    page: ReadPage
    prompts: deque[BlockPrompt]


class DocumentReading:
    """The blocks of all pages of one answer.

    While a page's blocks are decoded, the next page is opened and its blocks are found; images are dropped as soon as
    the engine has them. As many blocks are in the engine as it has slots, so that none of them waits there: another
    request of the same client gets the next free slot. A block that fails has an `error`; the others are read.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        hold: Hold,
        sources: Sequence[ImageSource],
        wishes: PageWishes,
        params: Params,
        bounds: Bounds = lambda own, _: own,
    ) -> None:
        """`sources`: pages in order. `bounds`: changes the size at which blocks are read."""
        self.images = len(sources)
        self.straightened: list[StraightImage] = []  # a page has its own angle
        self.layout = wishes.layout
        self.pages: list[ReadPage] = []  # up to the one that is read
        self.transcript = Transcript()  # blocks that have ended, as the model writes them
        self.usage = TokenUsage()
        self.finish_reason: FinishReason = "stop"  # the first that is not a plain end, as `stop_reason`
        self.stop_reason: str | None = None
        self.hold = hold
        self._engine, self._sources = engine, deque(sources)
        self._params, self._bounds = params, bounds
        self._ledger = Ledger(engine, hold)
        self._opener = PageOpener(engine=engine, hold=hold, wishes=wishes, ledger=self._ledger)
        self._opened: asyncio.Queue[OpenPage | Exception | None] = asyncio.Queue()  # None: there are no more
        self._looked_at: deque[OpenPage | Exception | None] = deque()  # taken from there by `begin`
        self._unsent: asyncio.Queue[list[BlockPrompt]] = asyncio.Queue(PAGES_AHEAD)
        self._free = asyncio.Semaphore(max(1, engine.slots))
        self._tasks: set[asyncio.Task[None]] = set()
        self._times: list[Times] = []  # those of prompts that have ended
        self._sent: list[BlockPrompt] = []  # prompts that are on their way or run
        self._begun = False
        self._any_read = False
        self._failure: Exception | None = None  # the last block's that failed

    async def begin(self) -> None:
        """Wait until a prompt is in the queue, or no page has one. Raises ImageError, EngineError."""
        if self._begun:
            return
        self._begun = True
        self._start(self._open_pages())
        self._start(self._send_blocks())
        try:
            await self._until_one_is_queued()
        except BaseException:
            self.abort()
            raise

    async def _until_one_is_queued(self) -> None:
        while True:
            opened = await self._unless_ended(self._opened.get())
            self._looked_at.append(opened)
            if isinstance(opened, Exception):
                raise opened
            if opened is None:
                return
            for prompt in opened.prompts:
                await self._unless_ended(prompt.settled.wait())
                if prompt.refusal is None:
                    return
                if not is_its_own(prompt.refusal):
                    raise prompt.refusal

    async def events(self) -> AsyncIterator[BlockEvent]:
        """Events in reading order. Raises ImageError, EngineError, also where every block has failed."""
        try:
            await self.begin()
            while (opened := await self._next_page()) is not None:
                self.pages.append(opened.page)
                for block in opened.page.blocks:
                    yield BlockEvent(kind="begin", page=opened.page, block=block)
                    async for event in self._read(opened, block):
                        yield event
                    yield BlockEvent(kind="end", page=opened.page, block=block)
                yield BlockEvent(kind="page", page=opened.page)
            if self._failure is not None and not self._any_read:
                raise self._failure
        finally:
            self.abort()

    @property
    def times(self) -> list[Times]:
        """Times of its prompts, as far as they are queued."""
        return [*self._times, *(prompt.times for prompt in self._sent if prompt.times is not None)]

    def abort(self) -> None:
        """Give up, and drop what waits. Harmless once finished."""
        for task in self._tasks:
            task.cancel()
        for prompt in self._sent:
            prompt.abort()
        self._ledger.close()

    # --- from pages to prompts ----------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_pages(self) -> None:
        try:
            for index in range(self.images):
                prepared = await self._opener.prepare(index, self._sources.popleft())
                prompts = [
                    BlockPrompt(block=block, params=self._params, bounds=self._bounds) for block in prepared.waiting
                ]
                first = prompts[0] if prompts else None
                self._opened.put_nowait(OpenPage(prepared.page, deque(prompts)))
                await self._unsent.put(prompts)
                if first is not None and not self.hold.begun:  # until then, a full queue would refuse the next page
                    await first.settled.wait()
            self._opened.put_nowait(None)
        except Exception as error:  # raised to who reads the events, after the pages before
            self._opened.put_nowait(error)

    async def _send_blocks(self) -> None:
        while True:
            prompts = await self._unsent.get()
            while prompts:
                await self._free.acquire()
                self._sent.append(prompts[0])
                self._start(self._run(prompts.pop(0)))

    async def _run(self, prompt: BlockPrompt) -> None:
        try:
            await prompt.run(self._engine, self.hold, self._ledger)
        finally:
            self._free.release()

    # --- from prompts to text -----------------------------------------------------------------------------------------

    async def _next_page(self) -> OpenPage | None:
        opened = self._looked_at.popleft() if self._looked_at else await self._unless_ended(self._opened.get())
        if isinstance(opened, Exception):
            raise opened
        return opened

    async def _read(self, opened: OpenPage, block: ReadBlock) -> AsyncIterator[BlockEvent]:
        """The text of a block as it comes, if it is read. Raises EngineError where the others cannot be read either."""
        text = Transcript()
        before = len(self.transcript.text) + (len(BETWEEN) if self.transcript.text else 0)
        while opened.prompts and opened.prompts[0].read is block:
            async for event in self._lines(opened.page, opened.prompts.popleft(), text, before):
                yield event
        block.text, block.confidence = text.text, text.confidence
        self.transcript.append(text, BETWEEN)

    async def _lines(
        self, page: ReadPage, prompt: BlockPrompt, text: Transcript, before: int
    ) -> AsyncIterator[BlockEvent]:
        """What one prompt adds to its block's text. `before`: characters of the transcript before the block."""
        await self._unless_ended(prompt.settled.wait())
        own, keep = Transcript(), None
        between = "" if not text.text or text.text.endswith(prompt.between) else prompt.between
        start = before + len(text.text) + len(between)
        try:
            async for event in self.usage.counted(prompt):
                place, keep = start + len(own.text), event.keep_chars
                own.add(event.text, None if event.token is None else event.token.logprob)
                is_first = bool(own.text) and len(own.text) == len(event.text)
                yield BlockEvent(
                    kind="text",
                    page=page,
                    block=prompt.read,
                    token=replace(event, text=between + event.text) if is_first else event,
                    place=place - len(between) if is_first else place,
                    keep_chars=None if keep is None else start + keep,
                )
            self._any_read = True
            self._end(prompt.read, event)
        except Exception as error:
            if not is_its_own(error):
                raise
            logger.warning("A block could not be read: %s", type(error).__name__)  # the message may quote the page
            self._failure, prompt.read.error = error, str(error)
        self._settle(prompt, own, keep)
        text.append(own, between)

    def _end(self, block: ReadBlock, last: TokenEvent) -> None:
        """Note how a block's text ended."""
        if last.finish_reason == "length":
            block.cut = "repetition" if last.stop_reason == REPETITION else "length"
        if (self.finish_reason, self.stop_reason) == ("stop", None) and last.finish_reason is not None:
            self.finish_reason, self.stop_reason = last.finish_reason, last.stop_reason

    def _settle(self, prompt: BlockPrompt, own: Transcript, keep: int | None) -> None:
        own.end()
        if keep is not None:
            own.cut(keep)
        self._sent.remove(prompt)
        if prompt.times is not None:
            self._times.append(prompt.times)

    async def _unless_ended(self, work: Coroutine[Any, Any, T]) -> T:
        return await self.hold.unless_ended(asyncio.create_task(work))
