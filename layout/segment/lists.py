"""Lists among the lines of a column: items that begin with a bullet or a number, over lines under their text.

Knows lines only.
"""

from collections.abc import Sequence

from layout.paragraphs import Line, same_size

FARTHEST = 5.0  # heights of small letters between two lines; some printers part items
SAME = 0.5  # heights of a glyph between the left sides of lines under one another


def listed(rows: Sequence[Line], glyph: float) -> list[tuple[list[Line], bool]]:
    """The lines of a column as runs, each with whether it is a list."""
    found: list[tuple[list[Line], bool]] = []
    place = 0
    while place < len(rows):
        end = _end_of_list(rows, place, SAME * glyph)
        if end > place + 1:
            found.append((list(rows[place:end]), True))
        elif found and not found[-1][1]:
            found[-1][0].append(rows[place])
        else:
            found.append(([rows[place]], False))
        place = max(end, place + 1)
    return found


def _end_of_list(rows: Sequence[Line], start: int, same: float) -> int:
    """The first place after a list that begins with a line; the line's own if none does."""
    first, end = rows[start], start + 1
    if first.text is None:
        return start
    while end < len(rows) and _is_near(rows[end - 1], rows[end]) and _belongs(first, rows[end], same):
        end += 1
    return end


def _is_near(line: Line, below: Line) -> bool:
    return below.base - line.base <= FARTHEST * max(line.low, below.low)


def _belongs(first: Line, line: Line, same: float) -> bool:
    """Whether a line is an item like the first, or goes on under its text."""
    assert first.text is not None
    if not same_size(first, line):
        return False
    if abs(line.box.left - first.text) <= same:
        return first.text - first.box.left > 2 * same
    return line.text is not None and abs(line.text - first.text) <= same and line.box.left <= first.text - same
