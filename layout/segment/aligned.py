"""Tables without rules among the lines of a column: words that stand under one another, with white between.

Knows lines only.
"""

from collections.abc import Sequence

from layout.columns import union
from layout.paragraphs import Line
from models.detection import Box

ROWS = 3  # lines of a table; fewer may stand under one another by chance
WHITE = 1.5  # heights of a glyph between its columns
FILLED = 0.6  # share of its lines with words on both sides of the white
PROSE_WIDTH, PROSE_SHARE = 10.0, 0.8  # columns this wide, in heights of a glyph, that most lines fill, are text
SIDE = 0.7  # heights of a glyph between the ends of justified lines
APART = 3.5  # heights of a line between two of a table


def parted(rows: Sequence[Line], glyph: float) -> list[tuple[list[Line], bool]]:
    """The lines of a column as runs, each with whether it is a table."""
    found: list[tuple[list[Line], bool]] = []
    place = 0
    while place < len(rows):
        end = _end_of_table(rows, place, glyph)
        if end - place >= ROWS and not _is_justified(rows, place, end, glyph):
            found.append((list(rows[place:end]), True))
            place = end
            continue
        if not found or found[-1][1]:
            found.append(([], False))
        found[-1][0].append(rows[place])
        place += 1
    return found


def _end_of_table(rows: Sequence[Line], start: int, glyph: float) -> int:
    """The first place after a table that begins with a line; the line's own if none does."""
    end = start
    while end < len(rows) and len(rows[end].parts) > 1:
        if end > start and rows[end].box.top - rows[end - 1].box.bottom > APART * rows[end].high:
            break
        if not is_grid([row.parts for row in rows[start : end + 1]], glyph):
            break
        end += 1
    return end


def _is_justified(rows: Sequence[Line], start: int, end: int, glyph: float) -> bool:
    """Whether a run goes on as text: the line before or after is whole, and ends where most lines of the run do."""
    inner = rows[start:end]
    right = max(row.box.right for row in inner)
    if sum(right - row.box.right <= SIDE * glyph for row in inner) < FILLED * len(inner):
        return False
    for other in (*rows[max(0, start - 1) : start], *rows[end : end + 1]):
        apart = min(abs(other.base - row.base) for row in (inner[0], inner[-1]))
        same = sum(
            abs(row.box.right - other.box.right) <= SIDE * glyph or abs(row.box.left - other.box.left) <= SIDE * glyph
            for row in inner
        )
        if len(other.parts) == 1 and apart <= APART * other.high and same >= FILLED * len(inner):
            return True
    left = min(row.box.left for row in inner)
    full = [row for row in inner if row.box.left - left <= SIDE * glyph and right - row.box.right <= SIDE * glyph]
    return len(full) == len(inner) and len(inner) <= ROWS + 1


def is_grid(rows: Sequence[Sequence[Box]], glyph: float) -> bool:
    """Whether the pieces of some rows are cells: white goes down between them, and they are no columns of text."""
    spans = union([(box.left, box.right) for row in rows for box in row])
    columns = _joined(spans, WHITE * glyph)
    if len(columns) < 2:
        return False
    several = sum(len({_column(box, columns) for box in row}) > 1 for row in rows)
    return several >= FILLED * len(rows) and not _is_prose(rows, columns, glyph)


def _joined(spans: Sequence[tuple[float, float]], white: float) -> list[tuple[float, float]]:
    columns: list[tuple[float, float]] = []
    for start, end in spans:
        if columns and start - columns[-1][1] < white:
            columns[-1] = (columns[-1][0], end)
        else:
            columns.append((start, end))
    return columns


def _column(box: Box, columns: Sequence[tuple[float, float]]) -> int:
    return next(place for place, (_, end) in enumerate(columns) if box.left < end)


def _is_prose(rows: Sequence[Sequence[Box]], columns: Sequence[tuple[float, float]], glyph: float) -> bool:
    for start, end in columns:
        inside = [[box for box in row if start <= box.left < end] for row in rows]
        widths = [max(box.right for box in row) - min(box.left for box in row) for row in inside if row]
        full = sum(width >= PROSE_SHARE * (end - start) for width in widths)
        if end - start < PROSE_WIDTH * glyph or full < PROSE_SHARE * len(widths):
            return False
    return len(rows) > ROWS
