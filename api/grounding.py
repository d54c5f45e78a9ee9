"""Grounded extraction as a request asks for it: which schema is filled from the page, or held by the model alone."""

import json

from api.errors import invalid
from api.sampling import ANY_OBJECT
from api.schema.requests import ChatRequest
from engine.request import Structure
from modes.choose import Task
from modes.schemas import SCHEMAS, Node, Schema, SchemaError, parse, shape_in


def node_to_fill(body: ChatRequest, task: Task, structure: Structure | None) -> Node | None:
    """The schema to fill with values of the page; None where the model writes its answer itself.

    A schema of the request comes before one that a system message names, and that before the mode's own. Raises
    ApiError.
    """
    wanted = task.extracts if body.grounded is None else body.grounded
    if not wanted:
        _check_no_doubts(body)
        return None
    if structure is not None and structure.kind != "json_schema":
        if body.grounded or body.mode is not None:
            raise invalid(f"{structure.param} does not go with extraction, which fills a JSON schema", structure.param)
        _check_no_doubts(body)
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


def _check_no_doubts(body: ChatRequest) -> None:
    """Raises ApiError where the request says what is to become of values that nothing extracts."""
    if body.doubtful != "keep":
        raise invalid("doubtful is for extraction: ask for a receipt, an invoice, a form, or grounded", "doubtful")


def structure_to_hold(body: ChatRequest, task: Task, structure: Structure | None) -> Structure | None:
    """The structure of an answer that is not grounded: an extracting mode has its own. Raises ApiError."""
    if structure is not None or not (task.extracts and body.grounded is False):
        return structure
    schema, _ = _schema(task, None)
    return Structure("json_schema", json.dumps(schema), "grounded")


def _schema(task: Task, structure: Structure | None) -> tuple[Schema | None, str]:
    """The schema to fill, and the field that holds it. Raises ApiError for invalid JSON."""
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
