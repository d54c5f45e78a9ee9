"""One choice of a completion on its way out: its log probabilities, its end, and what is reported of it."""

from typing import Any

from answers.answer import Answer
from answers.document_text import ReadDocument
from answers.events import AnswerEvent
from answers.extraction import ExtractedField
from answers.transcript import Part
from api.schema.requests import ChatRequest
from api.schema.responses import (
    Logprobs,
    OcrBlock,
    OcrCheck,
    OcrField,
    OcrLine,
    OcrPage,
    OcrReport,
    OcrWord,
    TokenLogprob,
    TopLogprob,
)
from engine.engine import Engine
from engine.request import Token
from layout.pages import ReadBlock
from modes.checks import Check


class Progress:
    """State of one choice: events in, the parts of OpenAI's shapes out."""

    def __init__(self, *, answer: Answer, body: ChatRequest, mode: str, engine: Engine) -> None:
        self.answer = answer
        self.completion_tokens = 0
        self._body, self._mode, self._engine = body, mode, engine
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

    def report(self) -> OcrReport:
        answer = self.answer
        confidence = answer.transcript.confidence
        return OcrReport(
            mode=self._mode,
            layout=answer.document is not None and answer.document.layout,
            confidence=None if confidence is None else round(confidence, 6),
            lines=[self._line(line) for line in answer.transcript.lines()] if self._body.ocr.words else None,
            keep_chars=answer.keep_chars,
            fields=None if answer.fields is None else [_field(field) for field in answer.fields],
            checks=None if answer.checks is None else [_check(check) for check in answer.checks],
            **({} if answer.document is None else _document(answer.document)),
        )

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


def _document(document: ReadDocument) -> dict[str, Any]:
    """The parts of a report that are about pages and blocks."""
    places = {(span.page, span.block): [span.start, span.end] for span in document.spans}
    return {
        "pages": [
            OcrPage(page=page.index + 1, width=page.size[0], height=page.size[1], angle=page.angle, error=page.error)
            for page in document.pages
        ],
        "blocks": [
            _block(block, page.index + 1, order + 1, places.get((page.index, order)))
            for page in document.pages
            for order, block in enumerate(page.blocks)
        ],
    }


def _block(read: ReadBlock, page: int, order: int, place: list[int] | None) -> OcrBlock:
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
    )


def _field(field: ExtractedField) -> OcrField:
    return OcrField(path=field.path, value=field.value, confidence=field.confidence, line=field.line)


def _check(check: Check) -> OcrCheck:
    return OcrCheck(rule=check.rule, left=float(check.left), right=float(check.right), holds=check.holds)
