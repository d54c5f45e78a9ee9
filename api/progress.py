"""One choice of a completion on its way out: its log probabilities, its end, and what is reported of it."""

from collections.abc import Iterator, Sequence
from typing import Any

from answers.answer import Answer
from answers.document_text import ReadDocument
from answers.events import AnswerEvent
from answers.extraction import ExtractedField
from answers.transcript import Part
from api.doubts import doubts, doubts_of_pages
from api.schema.requests import ChatRequest
from api.schema.responses import (
    AnswerMessage,
    CalledFunction,
    Delta,
    FinishReason,
    Logprobs,
    OcrBlock,
    OcrCheck,
    OcrField,
    OcrLine,
    OcrPage,
    OcrRaw,
    OcrReport,
    OcrWord,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)
from api.tools import call_of, forced_tool
from engine.engine import Engine
from engine.request import Token
from layout.markdown.figures import data_uri
from layout.pages import ReadBlock, ReadPage
from modes.checks import Check


class Progress:
    """State of one choice: events in, the parts of OpenAI's shapes out."""

    def __init__(
        self, *, answer: Answer, body: ChatRequest, mode: str, warnings: Sequence[str], engine: Engine
    ) -> None:
        self.answer = answer
        self.completion_tokens = 0
        self._body, self._mode, self._warnings, self._engine = body, mode, warnings, engine
        self.tool = forced_tool(body)
        self._logprobs: list[tuple[int, TokenLogprob]] = []  # each with the place of its token in the transcript

    def add(self, event: AnswerEvent) -> None:
        self.completion_tokens = event.completion_tokens
        if self._body.logprobs and event.token is not None and not event.end_token:
            self._logprobs.append((event.place, self._entry(event.token)))
        if event.keep_chars is not None:
            self._logprobs = [entry for entry in self._logprobs if entry[0] < event.keep_chars]

    def pop_logprobs(self) -> Logprobs | None:
        """Log probabilities since the last call; None if the request did not ask for them."""
        popped, self._logprobs = self._logprobs, []
        return Logprobs(content=[entry for _, entry in popped]) if self._body.logprobs else None

    def message(self) -> AnswerMessage:
        """The whole answer: its text, or the call of the tool that was asked for."""
        if self.tool is None:
            return AnswerMessage(content=self.answer.content)
        return AnswerMessage(content=None, tool_calls=[call_of(self.tool, self.answer.content)])

    def first_delta(self) -> Delta:
        """What a stream begins with: the role, and the name of the tool."""
        if self.tool is None:
            return Delta(role="assistant", content="")
        call = call_of(self.tool, "")
        return Delta(role="assistant", tool_calls=[ToolCallDelta(id=call.id, type="function", function=call.function)])

    def delta(self, content: str) -> Delta:
        """New text of a stream, which belongs to the arguments of a tool where one is called."""
        if self.tool is None:
            return Delta(content=content)
        return Delta(tool_calls=[ToolCallDelta(function=CalledFunction(arguments=content))])

    def finish_reason(self, reason: FinishReason) -> FinishReason:
        return "tool_calls" if self.tool is not None and reason == "stop" else reason

    def report(self) -> OcrReport:
        answer = self.answer
        confidence = answer.transcript.confidence
        return OcrReport(
            mode=self._mode,
            layout=answer.document is not None and answer.document.layout,
            confidence=None if confidence is None else round(confidence, 6),
            warnings=[*self._warnings, *self._doubts()],
            lines=[self._line(line) for line in answer.transcript.lines()] if self._body.ocr.words else None,
            keep_chars=answer.keep_chars,
            fields=None if answer.fields is None else [_field(field) for field in answer.fields],
            checks=None if answer.checks is None else [_check(check) for check in answer.checks],
            **self._pages(),
        )

    def _pages(self) -> dict[str, Any]:
        """The parts of the report that are about pages: those of a document, or images that were straightened."""
        if self.answer.document is not None:
            return _document(self.answer.document, raw=self._body.ocr.raw)
        if not self.answer.straightened:
            return {}
        pages = [ReadPage(index=i, size=one.size, angle=one.angle) for i, one in enumerate(self.answer.straightened)]
        return {"pages": [OcrPage(**page_facts(page)) for page in pages]}

    def _doubts(self) -> Iterator[str]:
        """What the confidence of the reading says of its image, or of each page of a document."""
        document = self.answer.document
        if document is not None and len(document.pages) > 1:
            return doubts_of_pages(document.pages)
        return doubts(self.answer.transcript.confidence if self.answer.images else None)

    def _line(self, line: Part) -> OcrLine:
        words = [OcrWord(**self._part(word)) for word in self.answer.transcript.words(line)]
        return OcrLine(**self._part(line), words=words)

    def _part(self, part: Part) -> dict[str, Any]:
        text = self.answer.transcript.text[part.start : part.end]
        return {"text": text, "confidence": round(part.confidence, 6)}

    def _entry(self, token: Token) -> TokenLogprob:
        top = [self._logprob(*candidate) for candidate in token.top]
        return TokenLogprob(**self._logprob(token.id, token.logprob).model_dump(), top_logprobs=top)

    def _logprob(self, token: int, logprob: float) -> TopLogprob:
        data = self._engine.token_bytes(token)
        return TopLogprob(token=data.decode(errors="replace"), logprob=logprob, bytes=list(data))


def _document(document: ReadDocument, *, raw: bool) -> dict[str, Any]:
    """The parts of a report that are about pages and blocks."""
    places = {(span.page, span.block): [span.start, span.end] for span in document.spans}
    return {
        "pages": [OcrPage(**page_facts(page)) for page in document.pages],
        "blocks": [
            block_facts(block, page.index + 1, order + 1, places.get((page.index, order)), raw=raw)
            for page in document.pages
            for order, block in enumerate(page.blocks)
        ],
    }


def page_facts(page: ReadPage) -> dict[str, Any]:
    """The fields of an `OcrPage`."""
    width, height = page.size
    return {"page": page.index + 1, "width": width, "height": height, "angle": page.angle, "error": page.error}


def block_facts(read: ReadBlock, page: int, order: int, place: list[int] | None, *, raw: bool = False) -> OcrBlock:
    boxes = [[round(edge) for edge in part.box] for part in read.block.parts]
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return OcrBlock(
        page=page,
        order=order,
        label=read.block.label,
        box=[min(lefts), min(tops), max(rights), max(bottoms)],
        parts=boxes if len(boxes) > 1 else None,
        confidence=None if read.confidence is None else round(read.confidence, 6),
        text=place,
        cut=read.cut,
        error=read.error,
        raw=_raw(read) if raw else None,
    )


def _raw(read: ReadBlock) -> OcrRaw:
    return OcrRaw(
        text=read.text,
        read=read.block.task is not None,
        image=None if read.image is None else data_uri(read.image),
        figures={token: data_uri(image) for token, image in read.figures.items()},
    )


def _field(field: ExtractedField) -> OcrField:
    return OcrField(
        path=field.path,
        value=field.value,
        normalized=field.normalised,
        status="doubtful" if field.doubtful else "ok",
        candidates=field.candidates,
        confidence=field.confidence,
        line=field.line,
    )


def _check(check: Check) -> OcrCheck:
    return OcrCheck(rule=check.rule, left=float(check.left), right=float(check.right), holds=check.holds)
