"""Forms filled from the lines of a page."""

import json
from typing import Any

from modes.form import Form
from modes.schemas import SCHEMAS, parse


def filled(mode: str, *lines: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(form(mode, *lines).content())
    return found


def form(mode: str, *lines: str) -> Form:
    return Form(parse(SCHEMAS[mode]), "\n".join(lines))


def own(*lines: str, **properties: Any) -> Form:
    return Form(parse({"type": "object", "properties": properties}), "\n".join(lines))


TEXT, NUMBER = {"type": "string"}, {"type": "number"}
