"""The heads of a list of items: which column of numbers means what."""

import re
from collections.abc import Mapping
from functools import cache

from modes.phrases import COLUMNS
from modes.wording import key_of, listed, one_of

COLUMN_HEADS = one_of(head for _, _, head in listed(COLUMNS))


@cache
def _heads() -> Mapping[str, tuple[str, tuple[str, ...]]]:
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for column, language, head in listed(COLUMNS):
        known, languages = found.get(key_of(head), (column, ()))
        found[key_of(head)] = known, (*languages, language)
    return found


HEADS = _heads()
"""Head -> its column and the languages that have it."""


def columns_of(folded: str) -> list[str]:
    """The columns of a line of heads, in their order; empty for any other line.

    A line of heads has two or more of them, one for names or two for numbers, and hardly anything else.
    """
    found = [HEADS[key_of(match[0])][0] for match in COLUMN_HEADS.finditer(folded)]
    rest = COLUMN_HEADS.sub(" ", folded)
    strange = re.findall(r"[^\W\d_]{2,}", rest)
    if len(found) < 2 or len(strange) > len(found) or re.search(r"\d", re.sub(r"\d+\s?%", "", folded)):
        return []
    return _told_apart(found) if "name" in found or len(set(found)) > 1 else []


def _told_apart(found: list[str]) -> list[str]:
    """Columns where the first of two amounts is the price of one piece, and only one is the name."""
    amounts = [place for place, column in enumerate(found) if column == "amount"]
    if len(amounts) == 2 and "unit_price" not in found:
        found[amounts[0]] = "unit_price"
    names = [place for place, column in enumerate(found) if column == "name"]
    for place in names[1:]:
        found[place] = "other"
    return found
