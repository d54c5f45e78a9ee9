"""Extraction: a reading whose transcript fills a form, with the model's word where the page leaves a choice."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

from answers.reading import Reading
from answers.transcript import Transcript
from api.errors import invalid
from api.sampling import ANY_OBJECT
from api.schema import ChatRequest, OcrCheck, OcrField
from engine.engine import Engine
from engine.errors import GenerationFailed, InvalidRequest
from engine.handles import Generation
from engine.request import SamplingParams, Structure, Times, TokenEvent
from modes.choose import Task
from modes.form import Field, Form
from modes.schemas import SCHEMAS, Node, Schema, SchemaError, parse, shape_in

logger = logging.getLogger(__name__)

MAX_CHOICE_TOKENS = 2048  # of the model's answer to a form's open places


def node_to_fill(body: ChatRequest, task: Task, structure: Structure | None) -> Node | None:
    """What a request wants extracted, grounded in the page; None where the model writes its answer itself.

    A schema of the request comes before one that a system message names, and that before the mode's own. Raises
    ApiError.
    """
    wanted = task.extracts if body.grounded is None else body.grounded
    if not wanted:
        return None
    if structure is not None and structure.kind != "json_schema":
        if body.grounded or body.mode is not None:
            raise invalid(f"{structure.param} does not go with extraction, which fills a JSON schema", structure.param)
        return None
    schema, param = _schema(task, structure)
    if schema is None:
        raise invalid("grounded needs a schema to fill: send one as response_format", "grounded")
    if not task.reads_text:
        raise invalid(f"grounded reads an image's text; mode {task.mode!r} does not", "grounded")
    try:
        return parse(schema)
    except SchemaError as error:
        message = f'{error}; "grounded": false lets the model write what the page does not hold'
        raise invalid(message, param) from error


def structure_to_hold(body: ChatRequest, task: Task, structure: Structure | None) -> Structure | None:
    """The structure of an answer that is not grounded: an extracting mode has its own. Raises ApiError."""
    if structure is not None or not (task.extracts and body.grounded is False):
        return structure
    schema, _ = _schema(task, None)
    return Structure("json_schema", json.dumps(schema), "grounded")


def _schema(task: Task, structure: Structure | None) -> tuple[Schema | None, str]:
    """The schema to fill, and the field that holds it. Raises ApiError for what is no JSON."""
    if structure is not None:
        try:
            given = json.loads(structure.definition)
        except (ValueError, RecursionError) as error:
            raise invalid(f"{structure.param} is not JSON: {error}", structure.param) from error
        if given != ANY_OBJECT:
            return given, structure.param
    named = shape_in(task.system)
    if named is not None:
        return named, "messages"
    return (SCHEMAS[task.mode], "mode") if task.extracts else (None, "grounded")


class Extraction:
    """Around a reading: its events, of which the last comes once the form is filled."""

    def __init__(self, engine: Engine, reading: Reading, node: Node) -> None:
        self.form: Form | None = None  # filled, once the last event has come
        self._engine = engine
        self._reading = reading
        self._node = node
        self._answer = Transcript()  # what the model said to the form's questions
        self._asked: Generation | None = None
        self._certainties: dict[str, float] = {}  # of each choice: its probability among what the grammar allowed
        self.fields: list[OcrField] | None = None
        self.checks: list[OcrCheck] | None = None

    async def events(self) -> AsyncIterator[TokenEvent]:
        """Raises ApiError, EngineError."""
        transcript = self._reading.transcript
        async for event in self._reading.events():
            if event.keep_chars is not None:
                transcript.cut(event.keep_chars)
                event = replace(event, keep_chars=None)
            if event.last:
                form = await asyncio.to_thread(Form, self._node, transcript.text)
                if form.questions:
                    await self._ask(form)
                await asyncio.to_thread(self._finish, form)
            yield event

    @property
    def times(self) -> list[Times]:
        """Of the reading's pages, and of the question."""
        return [*self._reading.times, *([] if self._asked is None else [self._asked.times])]

    def abort(self) -> None:
        self._reading.abort()
        if self._asked is not None:
            self._asked.abort()

    async def _ask(self, form: Form) -> None:
        """Have the model decide what the page leaves open, in the same conversation: what it has read stays read."""
        reading = self._reading
        page = reading.pages[0].followed_by(("assistant", form.page.text), ("user", form.question()))
        grammar = Structure("grammar", await asyncio.to_thread(form.grammar), "grounded")
        try:
            params = SamplingParams(max_tokens=MAX_CHOICE_TOKENS, structure=grammar)
            (self._asked,) = await page.submit(self._engine, [params], reading.hold)
            reading.prompt_tokens += self._asked.prompt_tokens
            before = reading.completion_tokens
            async for event in self._asked:
                self._answer.add(event.text, None if event.token is None else event.token.share)
                reading.completion_tokens = before + event.completion_tokens
            reading.cached_tokens += event.cached_tokens
        except (InvalidRequest, GenerationFailed) as error:  # the page is read all the same
            reason = type(error).__name__  # its message may quote the page
            logger.warning("The model could not be asked about %d places: %s", len(form.questions), reason)

    def _finish(self, form: Form) -> None:
        self._answer.end()
        form.settle(self._answer.text)
        if form.choices:
            self._certainties = self._certainties_of(form)
        self.fields = [self._field(form, own) for own in form.fields()]
        self.checks = [
            OcrCheck(rule=own.rule, left=float(own.left), right=float(own.right), holds=own.holds)
            for own in form.checks()
        ]
        self.form = form

    def _certainties_of(self, form: Form) -> dict[str, float]:
        """The answer holds the questions' paths in their order, each with its choice."""
        found, start, decoder = {}, 1, json.JSONDecoder()
        for path in form.questions:
            start += len(json.dumps(path)) + 1
            _, end = decoder.raw_decode(self._answer.text, start)
            found[path] = self._answer.probability_at(start, end)
            start = end + 1
        return found

    def _field(self, form: Form, own: Field) -> OcrField:
        value: str | bool | int | float | None
        value = _number(own.value) if isinstance(own.value, Decimal) else own.value
        if own.span is None:
            return OcrField(path=own.path, value=value, confidence=None, line=None)
        confidence = self._reading.transcript.confidence_at(*own.span)
        if confidence is not None and own.question is not None:
            confidence *= self._certainties.get(own.question, 0.0)  # not asked: the first candidate, a mere guess
        rounded = None if confidence is None else round(confidence, 6)
        return OcrField(path=own.path, value=value, confidence=rounded, line=form.line_at(own.span))


def _number(value: Decimal) -> int | float:
    return int(value) if value == int(value) and -value.as_tuple().exponent <= 0 else float(value)  # type: ignore[operator]
