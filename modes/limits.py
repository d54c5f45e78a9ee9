"""Keywords of a schema that restrict a value: held where the page has one within them, else the value is doubtful."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import regex

from modes.values import Json

KEYWORDS = frozenset(
    "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern format".split()
)
SECONDS = 0.05  # time for a pattern; a client writes it, and some take forever
FORMATS = {
    "email": re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+"),
    "uri": re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+"),
    "uuid": re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"),
}
"""Formats that a printed value can have; a date stays as it is printed, and its ISO form is in the report."""


def is_within(value: Json, limits: Mapping[str, Any]) -> bool:
    """Whether a value keeps to the limits. Limits of another type, and unknown formats, say nothing."""
    if isinstance(value, Decimal):
        return _is_number_within(value, limits)
    return not isinstance(value, str) or _is_text_within(value, limits)


def _is_number_within(value: Decimal, limits: Mapping[str, Any]) -> bool:
    bounds = {name: Decimal(str(own)) for name, own in limits.items() if type(own) in (int, float)}
    step = bounds.get("multipleOf")
    return (
        value >= bounds.get("minimum", value)
        and value <= bounds.get("maximum", value)
        and ("exclusiveMinimum" not in bounds or value > bounds["exclusiveMinimum"])
        and ("exclusiveMaximum" not in bounds or value < bounds["exclusiveMaximum"])
        and (not step or value % step == 0)
    )


def _is_text_within(value: str, limits: Mapping[str, Any]) -> bool:
    least, most, pattern = (limits.get(name) for name in ("minLength", "maxLength", "pattern"))
    if (isinstance(least, int) and len(value) < least) or (isinstance(most, int) and len(value) > most):
        return False
    format_ = FORMATS.get(str(limits.get("format")))
    if format_ is not None and not format_.fullmatch(value):
        return False
    try:
        return not isinstance(pattern, str) or regex.search(pattern, value, timeout=SECONDS) is not None
    except (regex.error, TimeoutError):
        return False
