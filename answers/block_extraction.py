"""An answer that is a form filled from a document read block by block: places tell which texts belong together."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from answers.arranged import arranged
from answers.document import DocumentReading
from answers.document_text import DocumentText, ReadDocument
from answers.events import AnswerEvent
from answers.extraction import ExtractedField, FormFilling
from answers.of_reading import OfReading
from answers.pages import PageWishes
from answers.prompts import PendingPrompt
from answers.transcript import Transcript
from engine.engine import Engine
from engine.request import Times
from images.source import ImageSource
from layout.markdown.options import MarkdownOptions
from models.paddleocr_vl.prompts import OCR
from modes.checks import Check
from modes.choose import Prompt
from modes.schemas import Node


def question_about(page: ImageSource, wishes: PageWishes, engine: Engine) -> PendingPrompt:
    """The prompt that a document's transcript answers, as the model sees it when it is asked about the transcript."""
    content = [{"type": "image"}, {"type": "text", "text": OCR}]
    prompt = Prompt(messages=[{"role": "user", "content": content}], images=[page], mode="document")
    bounds = [engine.bounds]
    return PendingPrompt(prompt=prompt, params=[], bounds=bounds, orient=wishes.orient, unwarp=wishes.unwarp)


class BlockExtraction(OfReading):
    """A document whose blocks, arranged as they stand on their pages, fill a form; the form is the whole content."""

    reading: DocumentReading
    keep_chars = None  # the content repeats nothing

    def __init__(
        self, *, engine: Engine, reading: DocumentReading, question: PendingPrompt, node: Node, doubtful_as_null: bool
    ) -> None:
        """`question`: what the transcript answers."""
        self.reading = reading
        self.fields: list[ExtractedField] | None = None  # once the last event has come, as `checks`
        self.checks: list[Check] | None = None
        self._text = DocumentText(reading=reading, options=MarkdownOptions(images="none"), streaming=False)
        self._question = question
        self._arranged: Transcript | None = None  # once all blocks are read
        self._filling = FormFilling(
            engine=engine, hold=reading.hold, usage=reading.usage, node=node, doubtful_as_null=doubtful_as_null
        )

    @property
    def transcript(self) -> Transcript:
        """The blocks as they were read, and arranged once all are."""
        return self._arranged or self.reading.transcript

    @property
    def content(self) -> str:
        """The form as JSON, once the last event has come."""
        return self._filling.content

    @property
    def document(self) -> ReadDocument:
        """Its blocks have no place in the content."""
        return replace(self._text.document, spans=())

    @property
    def times(self) -> list[Times]:
        """Times of the blocks' prompts, and of the question."""
        return [*super().times, *self._filling.times]

    async def events(self) -> AsyncIterator[AnswerEvent]:
        """Events of the reading, before the last one those with the content. Raises ImageError, EngineError."""
        async for event in self._text.events():
            event = replace(event, content="", keep_chars=None)
            if not event.last:
                yield event
                continue
            self._arranged = await asyncio.to_thread(arranged, self.reading.pages, self.reading.transcript)
            async for piece in self._filling.pieces(self._arranged, self._question):
                yield replace(event, kind="separator", content=piece, finish_reason=None, stop_reason=None)
            self.fields, self.checks = self._filling.fields, self._filling.checks
            yield replace(event, completion_tokens=self.usage.completion)

    def abort(self) -> None:
        super().abort()
        self._filling.abort()
