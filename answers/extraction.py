"""An answer that is a form filled from a transcript, with the model's choice where the page leaves several."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from decimal import Decimal

from answers.events import AnswerEvent, TokenUsage
from answers.of_reading import OfReading
from answers.prompts import PendingPrompt
from answers.reading import Reading
from answers.transcript import Transcript
from engine.engine import Engine
from engine.errors import GenerationFailed, InvalidRequest
from engine.handles import Generation, Hold
from engine.request import SamplingParams, Structure, Times
from modes.checks import Check
from modes.form import Field, Form
from modes.schemas import Node

logger = logging.getLogger(__name__)

MAX_CHOICE_TOKENS = 2048  # at most, in the model's answer to a form's questions


@dataclass(frozen=True)
class ExtractedField:
    """A value of an extracted object, with its source.

    Confidence: in its reading, times that in a choice of the model's; None where the page does not hold the value.
    """

    path: str  # such as items[0].price
    value: str | bool | int | float | None
    confidence: float | None
    line: str | None  # the transcript's line around the value


class FormFilling:
    """A schema that is filled from a transcript; the model is asked where the page leaves a choice."""

    def __init__(self, *, engine: Engine, hold: Hold, usage: TokenUsage, node: Node) -> None:
        """`usage`: counts the question."""
        self.content = ""  # the form as JSON, once it is filled
        self.fields: list[ExtractedField] = []
        self.checks: list[Check] = []
        self._engine, self._hold, self._usage, self._node = engine, hold, usage, node
        self._choices = Transcript()  # the model's answer to the form's questions
        self._question: Generation | None = None
        self._certainties: dict[str, float] = {}  # probability of each choice among those that the grammar allowed

    async def fill(self, transcript: Transcript, prompt: PendingPrompt) -> None:
        """`prompt`: what the transcript answers; the question goes on in its conversation. Raises EngineError."""
        form = await asyncio.to_thread(Form, self._node, transcript.text)
        if form.questions:
            await self._ask(form, prompt)
        await asyncio.to_thread(self._finish, form, transcript)

    @property
    def times(self) -> list[Times]:
        """Times of the question, if there is one."""
        return [] if self._question is None else [self._question.times]

    def abort(self) -> None:
        if self._question is not None:
            self._question.abort()

    async def _ask(self, form: Form, prompt: PendingPrompt) -> None:
        """Have the model decide what the page leaves open, in the same conversation, which stays in the cache."""
        asked = prompt.followed_by(("assistant", form.page.text), ("user", form.question()))
        grammar = Structure("grammar", await asyncio.to_thread(form.grammar), "grounded")
        try:
            params = SamplingParams(max_tokens=MAX_CHOICE_TOKENS, structure=grammar)
            (self._question,) = await asked.submit(self._engine, self._hold, [params])
            async for event in self._usage.counted(self._question):
                self._choices.add(event.text, None if event.token is None else event.token.share)
        except (InvalidRequest, GenerationFailed) as error:  # the page has been read all the same
            reason = type(error).__name__  # its message may quote the page
            logger.warning("The model could not be asked about %d places: %s", len(form.questions), reason)

    def _finish(self, form: Form, transcript: Transcript) -> None:
        self._choices.end()
        form.settle(self._choices.text)
        if form.choices:
            self._certainties = self._certainties_of(form)
        self.fields = [self._field(form, field, transcript) for field in form.fields()]
        self.checks = form.checks()
        self.content = form.content()

    def _certainties_of(self, form: Form) -> dict[str, float]:
        """Probabilities by question: the answer holds the questions' paths in their order, each with its choice."""
        found, start, decoder = {}, 1, json.JSONDecoder()
        for path in form.questions:
            start += len(json.dumps(path)) + 1
            _, end = decoder.raw_decode(self._choices.text, start)
            found[path] = self._choices.probability_at(start, end)
            start = end + 1
        return found

    def _field(self, form: Form, field: Field, transcript: Transcript) -> ExtractedField:
        value = _number(field.value) if isinstance(field.value, Decimal) else field.value
        if field.span is None:
            return ExtractedField(field.path, value, confidence=None, line=None)
        confidence = transcript.confidence_at(*field.span)
        if confidence is not None and field.question is not None:
            confidence *= self._certainties.get(field.question, 0.0)  # unasked: the first candidate is a mere guess
        rounded = None if confidence is None else round(confidence, 6)
        return ExtractedField(field.path, value, confidence=rounded, line=form.line_at(field.span))


class Extraction(OfReading):
    """A reading whose transcript fills a form; the form is the whole content, in the last event."""

    reading: Reading
    keep_chars = None  # the content repeats nothing
    document = None  # no blocks are looked for

    def __init__(self, *, engine: Engine, reading: Reading, node: Node) -> None:
        self.reading = reading
        self.fields: list[ExtractedField] | None = None  # once the last event has come, as `checks`
        self.checks: list[Check] | None = None
        self._filling = FormFilling(engine=engine, hold=reading.hold, usage=reading.usage, node=node)

    async def events(self) -> AsyncIterator[AnswerEvent]:
        """Events of the reading, the last with the content. Raises ImageError, EngineError."""
        async for event in self.reading.events():
            event = replace(event, keep_chars=None)
            if event.last:
                await self._filling.fill(self.transcript, self.reading.prompts[0])
                self.fields, self.checks = self._filling.fields, self._filling.checks
                event = replace(event, content=self.content, completion_tokens=self.usage.completion)
            yield event

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


def _number(value: Decimal) -> int | float:
    return int(value) if value == int(value) and -value.as_tuple().exponent <= 0 else float(value)  # type: ignore[operator]
