"""An answer that is the model's text, each page in the form of its prompt's mode."""

from collections.abc import AsyncIterator
from dataclasses import replace

from answers.events import AnswerEvent
from answers.of_reading import OfReading
from answers.reading import Reading
from modes.finisher import Finisher
from modes.registry import finisher_of
from modes.tables import TableFormat


class FinishedText(OfReading):
    """A reading whose pages go through their modes' finishers: piece by piece in a stream, else at each page's end."""

    reading: Reading
    fields = None  # nothing is extracted
    checks = None
    document = None  # nor are there blocks

    def __init__(self, *, reading: Reading, table_format: TableFormat, streaming: bool) -> None:
        self.reading = reading
        self.content = ""  # so far
        self.keep_chars: int | None = None  # characters of a streamed content before the repeats of a loop
        self._table_format = table_format
        self._streaming = streaming
        self._finisher: Finisher | None = None  # the current page's
        self._page_start = 0, 0  # characters of the transcript and of the content before that page

    async def events(self) -> AsyncIterator[AnswerEvent]:
        """Events with what each adds to the content. Raises ImageError, EngineError."""
        async for event in self.reading.events():
            new = self._streamed(event) if self._streaming else self._whole(event)
            self.content += new
            if event.kind == "separator":
                self._page_start = event.place + len(event.text), len(self.content)
            yield replace(event, content=new, keep_chars=None if self._streaming else event.keep_chars)

    def _streamed(self, event: AnswerEvent) -> str:
        self._finisher = self._finisher or self._new_finisher(event.page)
        if event.kind == "separator":
            return self._end_page() + event.text
        new = self._finisher.push(event.text)
        if not event.last:
            return new
        new += self._end_page()
        if event.keep_chars is not None:
            self.keep_chars = self._kept(event, self.content + new)
        return new

    def _whole(self, event: AnswerEvent) -> str:
        """Nothing before the page's end: the finisher sees all of its text at once."""
        if event.kind == "token" and not event.last:
            return ""
        self._finisher = self._new_finisher(event.page)
        end = len(self.reading.transcript.text) if event.last else event.place
        new = self._finisher.push(self.reading.transcript.text[self._page_start[0] : end]) + self._end_page()
        return new if event.last else new + event.text

    def _end_page(self) -> str:
        assert self._finisher is not None
        finisher, self._finisher = self._finisher, None
        return finisher.end()

    def _kept(self, event: AnswerEvent, content: str) -> int:
        """Characters of the content that come from the transcript before the repeats."""
        finisher = self._new_finisher(event.page)
        start, shown = self._page_start
        whole = content[:shown] + finisher.push(self.reading.transcript.text[start : event.keep_chars]) + finisher.end()
        pairs = enumerate(zip(whole, content, strict=False))
        return next((i for i, (ours, sent) in pairs if ours != sent), min(len(whole), len(content)))

    def _new_finisher(self, page: int) -> Finisher:
        pending = self.reading.prompts[page]
        return finisher_of(
            pending.prompt.mode,
            finished=pending.prompt.finished,
            table_format=self._table_format,
            image_size=(pending.image_sizes or [(0, 0)])[0],
            streaming=self._streaming,
        )
