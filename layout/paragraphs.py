"""Glyphs -> lines -> paragraphs, in reading order, for text that no layout network has found.

Knows boxes of ink, and no pixels and no words. A paragraph ends where the next line is farther away than the others,
begins further to the right, or is of another size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from layout.components import joined, pairs
from layout.ink import Ink
from models.detection import Box, hull

BLANK = 1.5  # heights of a glyph, up to which white to the right is a blank between words
BAND = 3.0  # heights of a glyph; the middles of two glyphs of a line are nearer in height
SAME_LINE = 0.4  # share of the lower glyph's height, from which two glyphs are side by side
APART = 1.25  # times the usual distance of lines in a column, from which a paragraph ends
FARTHEST = 3.4  # heights of the line's glyphs; lines of one paragraph are nearer, whatever is usual
INDENT = (0.8, 8.0)  # heights of a glyph by which the first line of a paragraph begins further to the right
TALLER = 1.2  # heights of two lines, one over the other, from which they may be of two sizes
HIGHER = 1.1  # the same for their capitals; few of them in a line say little
HEAVIER, MUCH = 1.08, 1.25  # the same for their strokes, which larger letters have wider, but for the largest
PIXELS = 1.5  # by which they differ at least; small print is rounded to pixels
# Percentiles of the heights of a line's glyphs: small letters; capitals and ascenders, and no brackets.
LOW, HIGH = 25, 85
FLUSH, SAME_END = 8.0, 0.5  # from the column's left side, and between the ends of lines that are flush right
WORD, MARKER = 0.45, 1.9  # heights of capitals: least white after, and the widest bullet or number of an item
CENTRED = 0.6  # heights of a glyph between the middles of centred lines
INSET = 5.0  # heights of a glyph on both sides of a line in the middle
SHORT = 5.0  # heights of a glyph by which the last line of a paragraph ends before the others


@dataclass(frozen=True)
class Line:
    """A line of text, or a part of one, in pixels of the page."""

    box: Box
    low: float  # height of its smaller glyphs
    high: float  # height of its taller glyphs
    base: float  # height at which most of its glyphs stand, from the top of the page
    glyphs: int
    stroke: float  # width of its strokes
    parts: tuple[Box, ...]  # what wide blanks cut it into, from left to right
    text: float | None = None  # left side of the text after a first word that may be a bullet or a number


@dataclass(frozen=True)
class Paragraph:
    """Lines that are read together, from the top down."""

    lines: tuple[Line, ...]

    @property
    def box(self) -> Box:
        return hull([line.box for line in self.lines])

    @property
    def longest(self) -> Line:
        return max(self.lines, key=lambda line: line.glyphs)


def pieces_of(ink: Ink, walls: np.ndarray) -> list[Line]:
    """Glyphs that stand side by side, no further apart than words, and with no wall between; `walls`: (walls, 4)."""
    glyphs = ink.glyphs
    if not len(glyphs):
        return []
    one, other = neighbours(glyphs, ink.glyph)
    open_ = ~_are_parted(glyphs[one], glyphs[other], walls)
    roots = joined(len(glyphs), one[open_], other[open_])
    order = np.argsort(roots, kind="stable")
    cuts = np.flatnonzero(np.diff(roots[order], prepend=-1))[1:]
    parts = zip(np.split(glyphs[order], cuts), np.split(ink.widths[order], cuts), strict=True)
    return [_line(part, widths) for part, widths in parts]


def _are_parted(left: np.ndarray, right: np.ndarray, walls: np.ndarray) -> np.ndarray:
    """(pairs,) whether a wall stands in the white between both."""
    parted = np.zeros(len(left), dtype=bool)
    level = (left[:, 1] + left[:, 3]) / 2
    slack = (left[:, 3] - left[:, 1]) / 4
    for start, top, end, bottom in walls.tolist():
        parted |= (left[:, 2] <= start + slack) & (end - slack <= right[:, 0]) & (level >= top) & (level < bottom)
    return parted


def _line(glyphs: np.ndarray, widths: np.ndarray) -> Line:
    box = Box(*glyphs[:, :2].min(axis=0).tolist(), *glyphs[:, 2:].max(axis=0).tolist())
    heights = glyphs[:, 3] - glyphs[:, 1]
    by_height = sorted(heights.tolist())
    low, high = _quantile(by_height, LOW), _quantile(by_height, HIGH)
    base, stroke = _quantile(sorted(glyphs[:, 3].tolist()), 50), _quantile(sorted(widths.tolist()), 50)
    return Line(box, low, high, base, len(glyphs), stroke, (box,), _text_after_marker(glyphs, high))


def _quantile(ordered: Sequence[float], percent: int) -> float:
    """As NumPy's percentile, which takes far longer for few numbers."""
    place, rest = divmod(percent * (len(ordered) - 1), 100)
    low, high = ordered[place], ordered[min(place + 1, len(ordered) - 1)]
    return low + (high - low) * rest / 100


def _text_after_marker(glyphs: np.ndarray, high: float) -> float | None:
    if len(glyphs) == 1:
        return None
    by_left = glyphs[np.argsort(glyphs[:, 0], kind="stable")]
    ends = np.maximum.accumulate(by_left[:, 2])
    blanks = np.flatnonzero(by_left[1:, 0] - ends[:-1] >= WORD * high)
    if not len(blanks) or ends[blanks[0]] - by_left[0, 0] > MARKER * high:
        return None
    return float(by_left[blanks[0] + 1, 0])


def neighbours(glyphs: np.ndarray, glyph: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of (glyphs, 4) boxes that are side by side with at most a blank between them, the left one first."""
    if not len(glyphs):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    left, top, right, bottom = glyphs.T
    heights = bottom - top
    ends = right + BLANK * np.maximum(glyph, heights)
    bands = ((top + bottom) / 2 // (BAND * glyph) + 1) * (ends.max() + 1)  # far enough apart for one sorted row
    order = np.argsort(bands + left, kind="stable")
    row = (bands + left)[order]
    found = []
    for band in (bands - ends.max() - 1, bands, bands + ends.max() + 1):
        one, place = pairs(np.searchsorted(row, band + left, side="right"), np.searchsorted(row, band + ends))
        found.append(np.stack([one, order[place]]))
    one, other = np.concatenate(found, axis=1)
    lower = np.minimum(heights[one], heights[other])
    near = left[other] - right[one] <= BLANK * np.maximum(glyph, lower)
    beside = np.minimum(bottom[one], bottom[other]) - np.maximum(top[one], top[other]) >= SAME_LINE * lower
    return one[near & beside], other[near & beside]


def rows_of(pieces: Sequence[Line]) -> list[Line]:
    """The lines of a column from the top down, each of all pieces at its height."""
    rows: list[list[Line]] = []
    for piece in sorted(pieces, key=lambda piece: piece.box.top):
        beside = next((row for row in reversed(rows[-3:]) if any(_is_beside(piece.box, one.box) for one in row)), None)
        if beside is None:
            rows.append([piece])
        else:
            beside.append(piece)
    return sorted(map(_whole, rows), key=lambda line: line.base)


def _is_beside(one: Box, other: Box) -> bool:
    shared = min(one.bottom, other.bottom) - max(one.top, other.top)
    return shared >= 0.5 * min(one.height, other.height)


def _whole(row: Sequence[Line]) -> Line:
    if len(row) == 1:
        return row[0]
    longest = max(row, key=lambda piece: piece.glyphs)
    by_left = sorted(row, key=lambda piece: piece.box.left)
    parts = tuple(part for piece in by_left for part in piece.parts)
    glyphs = sum(piece.glyphs for piece in row)
    low, high, stroke = (
        sum(getattr(piece, name) * piece.glyphs for piece in row) / glyphs for name in ("low", "high", "stroke")
    )
    text = by_left[0].text if parts[0].width > MARKER * high else parts[1].left
    return Line(hull(parts), low, high, longest.base, glyphs, stroke, parts, text)


def split(lines: Sequence[Line], glyph: float) -> list[Paragraph]:
    """The lines of a column by paragraph."""
    found: list[list[Line]] = []
    left = min((line.box.left for line in lines), default=0)
    right = max((line.box.right for line in lines), default=0)
    for place, line in enumerate(lines):
        before, after = (lines[at] if 0 <= at < len(lines) else None for at in (place - 1, place + 1))
        if (
            before is None
            or not same_size(before, line)
            or _is_far(before, line, lines)
            or _is_beside_inset(before, line, left, right, glyph)
            or _begins(line, found[-1], after, left, right - SHORT * glyph, glyph)
        ):
            found.append([])
        found[-1].append(line)
    return [Paragraph(tuple(part)) for part in found]


def _is_far(before: Line, line: Line, lines: Sequence[Line]) -> bool:
    """Whether a line is farther below the one before it than others of its size are in its column."""
    step = line.base - before.base
    steps = [
        below.base - above.base for above, below in pairwise(lines) if same_size(above, line) and same_size(below, line)
    ]
    return step > APART * float(np.percentile(steps, 25)) or step > FARTHEST * max(before.low, line.low)


def _is_beside_inset(before: Line, line: Line, left: float, right: float, glyph: float) -> bool:
    """Whether one of two lines stands in the middle of its column, and the other is no line of the same text."""
    insets = [_is_inset(one, left, right, glyph) for one in (before, line)]
    return any(insets) and not all(insets) and not _is_under_middle(before, line, glyph)


def _is_under_middle(before: Line, line: Line, glyph: float) -> bool:
    return abs(line.box.left + line.box.right - before.box.left - before.box.right) <= 2 * CENTRED * glyph


def _is_inset(line: Line, left: float, right: float, glyph: float) -> bool:
    """Whether a line stands in the middle of its column, far from both sides."""
    before, after = line.box.left - left, right - line.box.right
    return abs(before - after) <= 2 * CENTRED * glyph and before >= INSET * glyph


def same_size(one: Line, other: Line) -> bool:
    return not is_taller(one, other) and not is_taller(other, one)


def is_taller(line: Line, other: Line) -> bool:
    """Whether a line is of a larger size: by one measure alone, a line of digits or without ascenders would be."""
    return (
        line.low >= max(TALLER * other.low, other.low + PIXELS)
        and line.high >= HIGHER * other.high
        and (line.stroke >= HEAVIER * other.stroke or line.high >= MUCH * other.high)
    )


def _begins(line: Line, part: Sequence[Line], after: Line | None, left: float, short: float, glyph: float) -> bool:
    """Whether a line is indented against the paragraph before it, and what follows is not.

    After a single line that is not `short`, it is the text of an item, whose number or bullet stands out.
    """
    low, high = (times * glyph for times in INDENT)
    margin = min(before.box.left for before in part[-2:])
    if margin > left + FLUSH * glyph and abs(line.box.right - part[-1].box.right) <= SAME_END * glyph:
        return False  # lines that end under one another begin anywhere
    if _is_under_middle(part[-1], line, glyph):
        return False  # so do lines whose middles are under one another
    if not low <= line.box.left - margin <= high or (len(part) == 1 and part[0].box.right > short):
        return False
    return after is None or line.box.left - after.box.left >= low
