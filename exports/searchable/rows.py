"""A block's text -> rows that fill its box, and each row in the order in which its characters stand on paper.

The server says where a block is, not where its lines are: they are taken to be of one size, as large as the box allows.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from exports.searchable.font import em

LEADING = 1.2  # height of a row, in ems
STEPS = 20  # in the search for a size
RIGHT_TO_LEFT = {"R", "AL"}
NUMBERS = {"EN", "AN"}


@dataclass(frozen=True)
class Row:
    text: str  # in the order on paper, from left to right
    width: float  # share of the box's
    right: bool = False  # it begins at the right edge


def cleaned(text: str) -> str:
    """Without characters that are none on paper."""
    return "".join(one for one in text.expandtabs(4) if one == "\n" or unicodedata.category(one)[0] != "C")


def rows(text: str, width: float, height: float) -> list[Row]:
    """Rows from top to bottom, of equal heights."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or width <= 0 or height <= 0:
        return []
    small, large = 0.0, height / LEADING / len(lines)
    for _ in range(STEPS):
        size = (small + large) / 2
        if len(list(_broken(lines, width / size))) * size * LEADING > height:
            large = size
        else:
            small = size
    room = width / (small or large)
    broken = list(_broken(lines, room))
    if not any(goes_on for _, goes_on in broken):
        room = max(_width(row) for row, _ in broken)  # the box is as wide as its widest line
    return [_row(row, goes_on, room) for row, goes_on in broken]


def _row(text: str, goes_on: bool, room: float) -> Row:
    share = 1.0 if goes_on else min(1.0, _width(text) / room)
    return Row(on_paper(text), share, right=_from_right(text))


def _broken(lines: list[str], room: float) -> Iterator[tuple[str, bool]]:
    """Rows of at most `room` ems, and whether their line goes on in the next one."""
    for line in lines:
        row = ""
        for word in line.split():
            longer = f"{row} {word}" if row else word
            if row and _width(longer) > room:
                yield row, True
                longer = word
            while _width(longer) > room and len(longer) > 1:  # a script without spaces
                fits = max(1, _fitting(longer, room))
                yield longer[:fits], True
                longer = longer[fits:]
            row = longer
        yield row, False


def _fitting(text: str, room: float) -> int:
    """How many of its characters fit."""
    for count, character in enumerate(text):
        room -= em(character)
        if room < 0:
            return count
    return len(text)


def _width(text: str) -> float:
    return sum(map(em, text))


def _from_right(text: str) -> bool:
    kinds = (unicodedata.bidirectional(character) for character in text)
    return next((kind for kind in kinds if kind in RIGHT_TO_LEFT or kind == "L"), "L") in RIGHT_TO_LEFT


def on_paper(text: str) -> str:
    """Characters from left to right, since readers of PDFs turn Arabic and Hebrew themselves by their places.

    Unicode's bidirectional algorithm without its explicit marks.
    """
    kinds = [unicodedata.bidirectional(character) for character in text]
    if not RIGHT_TO_LEFT & set(kinds):
        return text
    levels = _levels(kinds, base=1 if _from_right(text) else 0)
    characters = list(zip(text, levels, strict=True))
    for level in 2, 1:
        parts = (list(part) for _, part in groupby(characters, key=lambda one: one[1] >= level))
        characters = [one for part in parts for one in (reversed(part) if part[0][1] >= level else part)]
    return "".join(character for character, _ in characters)


def _levels(kinds: list[str], base: int) -> list[int]:
    """Odd: from right to left; 2: what runs from left to right among it."""
    levels: list[int | None] = []
    strong = base
    for kind in kinds:
        if kind in RIGHT_TO_LEFT:
            strong = 1
            levels.append(1)
        elif kind == "L":
            strong = 0
            levels.append(2 if base else 0)
        elif kind in NUMBERS:
            levels.append(2 if strong or base else 0)
        elif kind == "NSM" and levels:
            levels.append(levels[-1])
        else:
            levels.append(None)
    return _neutral_filled(levels, base)


def _neutral_filled(levels: list[int | None], base: int) -> list[int]:
    """What stands between two parts of one level belongs to them, otherwise to the line."""
    following, after = [], base
    for level in reversed(levels):
        after = after if level is None else level
        following.append(after)
    filled, before = [], base
    for level, after in zip(levels, reversed(following), strict=True):
        filled.append(level if level is not None else before if before == after else base)
        before = before if level is None else level
    return filled
