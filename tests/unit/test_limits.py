"""Keywords of a caller's schema that restrict values."""

import json
from decimal import Decimal
from typing import Any

import pytest

from modes.limits import is_within
from tests.forms import own


@pytest.mark.parametrize(
    ("value", "limits", "within"),
    [
        (Decimal(5), {"minimum": 5, "maximum": 5}, True),
        (Decimal(4), {"minimum": 5}, False),
        (Decimal(5), {"exclusiveMinimum": 5}, False),
        (Decimal("0.15"), {"multipleOf": 0.05}, True),
        ("abc", {"minLength": 4}, False),
        ("AB-12", {"pattern": "^[A-Z]+-[0-9]+$"}, True),
        ("12", {"pattern": "^[A-Z]"}, False),
        ("a" * 40 + "!", {"pattern": "^(a+)+$"}, False),
        ("ann@example.org", {"format": "email"}, True),
        ("ann", {"format": "email"}, False),
        ("4 Mar 2026", {"format": "date"}, True),
        ("x", {"minimum": 5, "pattern": "("}, False),
    ],
)
def test_a_value_keeps_to_its_limits_or_not(value: Any, limits: dict[str, Any], within: bool) -> None:
    assert is_within(value, limits) is within


def test_limits_choose_among_candidates() -> None:
    asked = own("Room: 12", "Room: 99", room={"type": "integer", "maximum": 50})
    assert (json.loads(asked.content()), asked.questions) == ({"room": 12}, {})


def test_a_value_beyond_its_limits_is_doubtful_not_refused() -> None:
    (field,) = own("Room: 99", room={"type": "integer", "maximum": 50}).fields()
    assert (field.value, field.doubtful) == (99, True)
