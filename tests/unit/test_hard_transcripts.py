"""Transcripts on which parsers of receipts and invoices went wrong, by people's reports about them."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from modes.form import Form
from modes.schemas import SCHEMAS, parse

FILE = Path(__file__).parents[1] / "data" / "transcripts.jsonl"
CASES = {case["name"]: case for case in map(json.loads, FILE.read_text().splitlines())}


def agrees(expected: Any, actual: Any) -> bool:
    """Whether an answer holds what is expected: objects may hold more, `any_of` lists alternatives."""
    if isinstance(expected, dict) and "any_of" in expected:
        return any(agrees(one, actual) for one in expected["any_of"])
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(agrees(own, actual.get(name)) for name, own in expected.items())
    if isinstance(expected, list):
        return isinstance(actual, list) and len(expected) == len(actual) and all(map(agrees, expected, actual))
    if isinstance(expected, int | float) and actual is not None:
        return Decimal(str(expected)) == Decimal(str(actual))
    return bool(expected == actual)


@pytest.mark.parametrize("name", CASES)
def test_a_hard_transcript_is_read_right(name: str) -> None:
    case = CASES[name]
    form = Form(parse(SCHEMAS[case["schema"]]), case["transcript"])
    assert agrees(case["expected"], json.loads(form.content())), form.content()
