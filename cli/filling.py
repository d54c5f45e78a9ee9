"""A schema filled from the text of a page as the server does, but without asking a model.

What the server would ask the model is filled with the likeliest candidate and marked as doubtful.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from cli.errors import UsageError
from modes.arrangement import BoxedText, transcript_of
from modes.checks import Check
from modes.form import Field, Form
from modes.schemas import SCHEMAS, Node, Schema, SchemaError, parse, shape_in


def extracted(node: Node, text: str, *, doubtful_as_null: bool = False) -> dict[str, Any]:
    """`object`, and `fields` and `checks` as in an answer's report, without confidence."""
    form = Form(node, text, doubtful_as_null=doubtful_as_null)
    return {
        "object": json.loads(form.content()),
        "fields": [field_of(form, field) for field in form.fields()],
        "checks": [check_of(check) for check in form.checks()],
    }


def field_of(form: Form, field: Field) -> dict[str, Any]:
    return {
        "path": field.path,
        "value": plain(field.value),
        "normalized": field.normalised,
        "status": "doubtful" if field.doubtful else "ok",
        "candidates": [plain(value) for value in field.candidates],
        "line": None if field.span is None else form.line_at(field.span),
    }


def check_of(check: Check) -> dict[str, Any]:
    return {"rule": check.rule, "left": plain(check.left), "right": plain(check.right), "holds": check.holds}


def plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def schema(name: str) -> tuple[Schema, Node]:
    """The schema of a built-in mode, of a file, or of a file's example, and its tree. Raises UsageError."""
    if name in SCHEMAS:
        return SCHEMAS[name], parse(SCHEMAS[name])
    if not Path(name).exists():
        raise UsageError(f"--schema is {name}, which is neither {', '.join(SCHEMAS)} nor a file")
    found = shape_in(text_of(Path(name)))
    if found is None:
        raise UsageError(f"{name} holds neither a JSON schema nor an example object")
    try:
        return found, parse(found)
    except SchemaError as error:
        raise UsageError(f"{name}: {error}") from error


def text_of(file: Path) -> str:
    """Raises UsageError, OSError."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not text in UTF-8: {error}") from None


def blocks(file: Path) -> str:
    """The transcript of a file of texts with boxes, or with the four `points` that the mode spotting gives.

    Raises UsageError, OSError.
    """
    text = text_of(file)
    try:
        found = json.loads(text)
        return transcript_of(map(_boxed, found["blocks"] if isinstance(found, dict) else found))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f'{file}: needs a list of {{"text": ..., "box": [left, top, right, bottom]}}') from error


def _boxed(block: dict[str, Any]) -> BoxedText:
    if block.get("points"):
        xs, ys = zip(*block["points"], strict=True)
        return BoxedText(str(block["text"]), min(xs), min(ys), max(xs), max(ys))
    left, top, right, bottom = block["box"]
    return BoxedText(str(block["text"]), left, top, right, bottom)
