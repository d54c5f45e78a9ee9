"""Extraction: a reading whose transcript fills a form, with the model's word where the page leaves a choice."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

from api.errors import invalid
from api.reading import Reading, submit_patiently
from api.sampling import ANY_OBJECT
from api.schema import ChatRequest, OcrCheck, OcrField
from engine.engine import Engine, Generation
from engine.errors import InvalidRequest
from engine.request import SamplingParams, Structure, TokenEvent
from modes.choose import MODES, Task
from modes.extraction import Field, Form
from modes.schemas import SCHEMAS, Node, Schema, SchemaError, parse, shape_in
from modes.transcript import Transcript

logger = logging.getLogger(__name__)

MOST_CHOICE_TOKENS = 2048  # of the model's answer to a form's open places


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
    if MODES.get(task.mode, MODES["markdown"]).prompt != MODES["markdown"].prompt or not task.prompts[0].pictures:
        raise invalid(f"grounded reads a picture's text; mode {task.mode!r} does not", "grounded")
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
    if task.extracts:
        named = shape_in(task.system)
        return (named, "messages") if named is not None else (SCHEMAS[task.mode], "mode")
    return None, "grounded"


class Extraction:
    """Around a reading: its events, of which the last comes once the form is filled."""

    def __init__(self, engine: Engine, reading: Reading, node: Node) -> None:
        self.form: Form | None = None  # filled, once the last event has come
        self._engine = engine
        self._reading = reading
        self._node = node
        self._answer = Transcript()  # what the model said to the form's questions
        self._asked: Generation | None = None

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
                self.form = form
            yield event

    def abort(self) -> None:
        self._reading.abort()
        if self._asked is not None:
            self._asked.abort()

    async def _ask(self, form: Form) -> None:
        """Have the model decide what the page leaves open, in the same conversation: what it has read stays read."""
        reading = self._reading
        page = reading.pages[0].followed_by(("assistant", form.page.text), ("user", form.question()))
        grammar = Structure("grammar", form.grammar(), "grounded")
        try:
            params = SamplingParams(max_tokens=MOST_CHOICE_TOKENS, structure=grammar)
            self._asked = await submit_patiently(page, self._engine, params, reading.hold)
        except InvalidRequest as error:
            logger.warning("The model could not be asked about %s: %s", ", ".join(form.questions), error)
            return
        reading.prompt_tokens += self._asked.prompt_tokens
        before = reading.completion_tokens
        async for event in self._asked:
            self._answer.add(event.text, None if event.token is None else event.token.share)
            reading.completion_tokens = before + event.completion_tokens
        reading.cached_tokens += event.cached_tokens
        self._answer.end()
        form.settle(self._answer.text)

    # --- the report --------------------------------------------------------------------------------------------------

    def fields(self) -> list[OcrField] | None:
        if self.form is None:
            return None
        return [self._field(self.form, own) for own in self.form.fields()]

    def _field(self, form: Form, own: Field) -> OcrField:
        value: str | bool | int | float | None
        value = _number(own.value) if isinstance(own.value, Decimal) else own.value
        if own.span is None:
            return OcrField(path=own.path, value=value, confidence=None, line=None)
        confidence = self._reading.transcript.confidence_at(*own.span)
        if confidence is not None:
            confidence = round(confidence * self._certainty(own), 6)
        return OcrField(path=own.path, value=value, confidence=confidence, line=form.line_at(own.span))

    def _certainty(self, own: Field) -> float:
        """How sure the model was of its choice; 1 where it had none."""
        key = f"{json.dumps(own.path)}:"
        start = self._answer.text.find(key)
        if not own.chosen or start < 0:
            return 1.0
        start += len(key)
        _, end = json.JSONDecoder().raw_decode(self._answer.text, start)
        return self._answer.probability_at(start, end)

    def checks(self) -> list[OcrCheck] | None:
        if self.form is None:
            return None
        return [
            OcrCheck(rule=own.rule, left=float(own.left), right=float(own.right), holds=own.holds)
            for own in self.form.checks()
        ]


def _number(value: Decimal) -> int | float:
    return int(value) if value == int(value) and -value.as_tuple().exponent <= 0 else float(value)  # type: ignore[operator]
