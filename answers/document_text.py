"""An answer that is the Markdown of a document, streamed in reading order or made of the whole."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

from answers.document import BlockEvent, DocumentReading
from answers.events import AnswerEvent
from answers.of_reading import OfReading
from layout.markdown.document import document_markdown
from layout.markdown.options import MarkdownOptions, Span
from layout.markdown.writer import MarkdownWriter
from layout.pages import ReadPage


@dataclass(frozen=True)
class ReadDocument:
    """What is known of a document besides its text."""

    layout: bool  # whether a layout network found the blocks
    pages: list[ReadPage]
    spans: Sequence[Span]  # places of its blocks in the content; none until its end


class DocumentText(OfReading):
    """A document's blocks as Markdown: as they come in a stream, else made of all pages at the end."""

    reading: DocumentReading
    fields = None  # nothing is extracted
    checks = None
    keep_chars = None  # repeats are cut off block by block

    def __init__(self, *, reading: DocumentReading, options: MarkdownOptions, streaming: bool) -> None:
        self.reading = reading
        self._options = options
        self._writer = MarkdownWriter(options) if streaming else None
        self._pieces: list[str] = []  # content so far
        self._spans: Sequence[Span] = ()

    @property
    def content(self) -> str:
        return "".join(self._pieces)

    @property
    def document(self) -> ReadDocument:
        return ReadDocument(self.reading.layout, self.reading.pages, self._spans)

    async def events(self) -> AsyncIterator[AnswerEvent]:
        """Events with what each adds to the content. Raises ImageError, EngineError."""
        read: dict[int, int] = {}  # blocks that are read, by page
        async for event in self.reading.events():
            page = event.page.index
            if page not in read:
                read[page] = 0
                yield self._step("page", page, 0)
            new = "" if self._writer is None else self._written(self._writer, event)
            if new or event.token is not None:
                yield self._event(event, new)
            if event.kind == "end":
                read[page] += 1
                yield self._step("block", page, read[page])
        yield AnswerEvent(
            kind="token",
            text="",
            place=len(self.transcript.text),
            page=len(self.reading.pages) - 1,
            completion_tokens=self.usage.completion,
            content=self._added(await self._rest()),
            finish_reason=self.reading.finish_reason,
            stop_reason=self.reading.stop_reason,
        )

    def _written(self, writer: MarkdownWriter, event: BlockEvent) -> str:
        if event.kind == "begin":
            assert event.block is not None
            return writer.begin(event.page, event.block)
        if event.token is not None:
            return writer.push(event.token.text)
        return writer.end() if event.kind == "end" else ""

    async def _rest(self) -> str:
        """What the end of the document adds."""
        if self._writer is not None:
            rest, self._spans = self._writer.finish(), self._writer.spans
            return rest
        made = await asyncio.to_thread(document_markdown, self.reading.pages, self._options)
        self._spans = made.spans
        return made.text

    def _step(self, kind: Literal["page", "block"], page: int, block: int) -> AnswerEvent:
        return AnswerEvent(
            kind=kind,
            text="",
            place=len(self.transcript.text),
            page=page,
            block=block,
            completion_tokens=self.usage.completion,
        )

    def _event(self, event: BlockEvent, new: str) -> AnswerEvent:
        token = event.token
        return AnswerEvent(
            kind="token" if token is not None else "separator",
            text="" if token is None else token.text,
            place=event.place,
            page=event.page.index,
            completion_tokens=self.usage.completion,
            token=None if token is None else token.token,
            end_token=token is not None and token.end_token,
            content=self._added(new),
            keep_chars=event.keep_chars if self._writer is None else None,
        )

    def _added(self, new: str) -> str:
        self._pieces.append(new)
        return new
