"""An answer that is a form filled from a transcript, with the model's choice where the page leaves several."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from answers.events import AnswerEvent, TokenUsage
from answers.of_reading import OfReading
from answers.prompts import PendingPrompt, Submitted
from answers.reading import Reading
from answers.transcript import Transcript
from engine.engine import Engine
from engine.errors import GenerationFailed, InvalidRequest
from engine.handles import Hold
from engine.request import SamplingParams, Structure, Times
from modes.checks import Check
from modes.chosen import places_in
from modes.form import Field, Form
from modes.schemas import Node
from modes.values import Json

logger = logging.getLogger(__name__)

IF_DOUBTFUL = 0.5  # what a doubt leaves of a confidence; measured, doubtful values are right about as often
MAX_CHOICE_TOKENS = 2048  # at most, in the model's answer to a form's questions


@dataclass(frozen=True)
class ExtractedField:
    """A value of an extracted object, with its source.

    Confidence: the probability that it was read right, times that of the model's choice, and half where it is doubtful;
    None where the page does not hold the value.
    """

    path: str  # such as items[0].price
    value: str | bool | int | float | None
    normalised: str | None  # ISO date, ISO currency, decimal
    doubtful: bool
    candidates: list[str | bool | int | float]  # what a doubtful value may be as well
    confidence: float | None
    line: str | None  # the transcript's line around the value


class FormFilling:
    """A schema that is filled from a transcript; the model is asked where the page leaves a choice."""

    def __init__(self, *, engine: Engine, hold: Hold, usage: TokenUsage, node: Node, doubtful_as_null: bool) -> None:
        """`usage`: counts the question."""
        self.content = ""  # the form as JSON, once it is filled
        self.fields: list[ExtractedField] = []
        self.checks: list[Check] = []
        self._engine, self._hold, self._usage, self._node = engine, hold, usage, node
        self._doubtful_as_null = doubtful_as_null
        self._choices = Transcript()  # the model's answer to the form's questions
        self._question: Submitted | None = None
        self._certainties: dict[str, float] = {}  # probability of each choice among those that the grammar allowed

    async def fill(self, transcript: Transcript, prompt: PendingPrompt) -> None:
        """As `pieces`, whole."""
        async for _ in self.pieces(transcript, prompt):
            pass

    async def pieces(self, transcript: Transcript, prompt: PendingPrompt) -> AsyncIterator[str]:
        """The form as JSON, value by value as each is decided: by the page, then by the model.

        `prompt`: what the transcript answers; the question goes on in its conversation. Raises EngineError.
        """
        form = await asyncio.to_thread(Form, self._node, transcript.text, doubtful_as_null=self._doubtful_as_null)
        sent = 0
        for piece in form.decided():
            sent += len(piece)
            yield piece
        if form.questions:
            async for _ in self._ask(form, prompt):
                for piece in _after(sent, form.decided()):
                    sent += len(piece)
                    yield piece
        await asyncio.to_thread(self._finish, form, transcript)
        for piece in _after(sent, [self.content]):
            yield piece

    @property
    def times(self) -> list[Times]:
        """Times of the question, if there is one."""
        return [] if self._question is None else [self._question.times]

    def abort(self) -> None:
        if self._question is not None:
            self._question.abort()

    async def _ask(self, form: Form, prompt: PendingPrompt) -> AsyncIterator[str]:
        """Have the model decide what the page leaves open, in the same conversation, which stays in the cache.

        Yields the path of each question that it has decided.
        """
        asked = prompt.followed_by(("assistant", form.page.text), ("user", form.question()))
        grammar = Structure("grammar", await asyncio.to_thread(form.grammar), "grounded")
        try:
            params = SamplingParams(max_tokens=MAX_CHOICE_TOKENS, structure=grammar)
            (self._question,) = await asked.submit(self._engine, self._hold, [params])
            async for event in self._usage.counted(self._question):
                self._choices.add(event.text, None if event.token is None else event.token.share)
                if event.text and event.text[-1] in ",}]":  # a choice may have ended
                    known = len(form.choices)
                    await asyncio.to_thread(form.settle, self._choices.text)
                    for path in list(form.choices)[known:]:
                        yield path
        except (InvalidRequest, GenerationFailed) as error:  # the page has been read all the same
            reason = type(error).__name__  # its message may quote the page
            logger.warning("The model could not be asked about %d places: %s", len(form.questions), reason)

    def _finish(self, form: Form, transcript: Transcript) -> None:
        self._choices.end()
        form.settle(self._choices.text)
        form.end()
        if form.choices:
            self._certainties = self._certainties_of(form)
        self.fields = [self._field(form, field, transcript) for field in form.fields()]
        self.checks = form.checks()
        self.content = form.content()

    def _certainties_of(self, form: Form) -> dict[str, float]:
        """Probabilities by question: the answer holds the questions' paths in their order, each with its choice."""
        places = places_in(self._choices.text, list(form.questions))
        return {path: self._choices.probability_at(*place) for path, place in places.items()}

    def _read_right(self, field: Field, transcript: Transcript) -> float | None:
        """The probability that a value is right: that all its tokens are, and the model's choice; half if doubtful.

        None where the transcript has no probabilities.
        """
        assert field.span is not None
        if transcript.confidence_at(*field.span) is None:
            return None
        found = transcript.probability_at(*field.span) * (IF_DOUBTFUL if field.doubtful else 1)
        # Unasked, the first candidate is a mere guess.
        return found if field.question is None else found * self._certainties.get(field.question, 0.0)

    def _field(self, form: Form, field: Field, transcript: Transcript) -> ExtractedField:
        confidence, line = None, None
        if field.span is not None:
            confidence, line = self._read_right(field, transcript), form.line_at(field.span)
        return ExtractedField(
            path=field.path,
            value=_plain(field.value),
            normalised=field.normalised,
            doubtful=field.doubtful,
            candidates=[plain for own in field.candidates if (plain := _plain(own)) is not None],
            confidence=None if confidence is None else round(confidence, 6),
            line=line,
        )


class Extraction(OfReading):
    """A reading whose transcript fills a form; the form is the whole content, value by value after the reading."""

    reading: Reading
    keep_chars = None  # the content repeats nothing
    document = None  # no blocks are looked for

    def __init__(self, *, engine: Engine, reading: Reading, node: Node, doubtful_as_null: bool) -> None:
        self.reading = reading
        self.fields: list[ExtractedField] | None = None  # once the last event has come, as `checks`
        self.checks: list[Check] | None = None
        self._filling = FormFilling(
            engine=engine, hold=reading.hold, usage=reading.usage, node=node, doubtful_as_null=doubtful_as_null
        )

    async def events(self) -> AsyncIterator[AnswerEvent]:
        """Events of the reading, before the last one those with the content. Raises ImageError, EngineError."""
        async for event in self.reading.events():
            event = replace(event, keep_chars=None)
            if not event.last:
                yield event
                continue
            place = len(self.transcript.text)
            async for piece in self._filling.pieces(self.transcript, self.reading.prompts[0]):
                yield AnswerEvent(
                    kind="separator", text="", place=place, page=event.page, content=piece,
                    completion_tokens=self.usage.completion,
                )  # fmt: skip
            self.fields, self.checks = self._filling.fields, self._filling.checks
            yield replace(event, completion_tokens=self.usage.completion)

    @property
    def content(self) -> str:
        """The form as JSON, once the last event has come."""
        return self._filling.content

    @property
    def times(self) -> list[Times]:
        """Times of the reading's prompts, and of the question."""
        return [*super().times, *self._filling.times]

    def abort(self) -> None:
        super().abort()
        self._filling.abort()


def _after(sent: int, pieces: Sequence[str]) -> Iterator[str]:
    """What of the pieces comes after the first `sent` characters."""
    for piece in pieces:
        rest, sent = piece[sent:], max(0, sent - len(piece))
        if rest:
            yield rest


def _plain(value: Json) -> str | bool | int | float | None:
    """A value without its printed decimals."""
    if not isinstance(value, Decimal):
        return value
    return int(value) if value == int(value) and -value.as_tuple().exponent <= 0 else float(value)  # type: ignore[operator]
