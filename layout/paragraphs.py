"""Glyphs -> lines -> paragraphs, in reading order, for text that no layout network has found.

Knows boxes of ink, and no pixels and no words. A paragraph ends where the next line is farther away than the others,
begins further to the right, or is of another size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from layout.columns import columns
from layout.components import joined
from layout.ink import Ink
from models.detection import Box

BLANK = 1.5  # heights of a glyph, up to which white to the right is a blank between words
SAME_LINE = 0.4  # share of the lower glyph's height, from which two glyphs are side by side
APART = 1.25  # times the usual distance of lines in a column, from which a paragraph ends
FARTHEST = 3.4  # heights of the line's glyphs; lines of one paragraph are nearer, whatever is usual
INDENT = (0.8, 8.0)  # heights of a glyph by which the first line of a paragraph begins further to the right
TALLER = 1.2  # heights of two lines, one over the other, from which they are not of one size
PIXELS = 1.5  # by which they differ at least; small print is rounded to pixels
TALL = 95  # percentile of a line's heights: a capital or an ascender


@dataclass(frozen=True)
class Line:
    """A line of text, or a part of one, in pixels of the page."""

    box: Box
    low: float  # height of its middle glyph: a small letter, or a digit
    high: float  # height of its taller glyphs
    base: float  # where most of its glyphs stand
    glyphs: int


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


def hull(boxes: Sequence[Box]) -> Box:
    """The smallest box around some."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return Box(min(lefts), min(tops), max(rights), max(bottoms))


def paragraphs(ink: Ink) -> list[Paragraph]:
    """The text of some ink in reading order."""
    pieces = _pieces(ink)
    found: list[Paragraph] = []
    for column in columns([piece.box for piece in pieces], ink.glyph):
        found += _split(_rows([pieces[place] for place in column]), ink.glyph)
    return found


def _pieces(ink: Ink) -> list[Line]:
    """Glyphs that stand side by side, no further apart than words."""
    glyphs = ink.glyphs[np.argsort(ink.glyphs[:, 0], kind="stable")]
    roots = joined(len(glyphs), *_neighbours(glyphs, ink.glyph))
    order = np.argsort(roots, kind="stable")
    cuts = np.flatnonzero(np.diff(roots[order], prepend=-1))
    return [_line(part) for part in np.split(glyphs[order], cuts[1:])] if len(glyphs) else []


def _line(glyphs: np.ndarray) -> Line:
    box = Box(*glyphs[:, :2].min(axis=0).tolist(), *glyphs[:, 2:].max(axis=0).tolist())
    heights = glyphs[:, 3] - glyphs[:, 1]
    low, high = float(np.median(heights)), float(np.percentile(heights, TALL))
    return Line(box, low, high, float(np.median(glyphs[:, 3])), len(glyphs))


def _neighbours(glyphs: np.ndarray, glyph: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of glyphs, sorted by their left sides, that are side by side with at most a blank between them."""
    left, top, right, bottom = glyphs.T
    heights = bottom - top
    reach = BLANK * np.maximum(glyph, heights)
    last = np.searchsorted(left, right + reach, side="right")
    first = np.arange(len(glyphs)) + 1
    counts = np.maximum(last - first, 0)
    one = np.repeat(np.arange(len(glyphs)), counts)
    other = np.arange(len(one)) - np.repeat(np.cumsum(counts) - counts, counts) + first[one]
    lower = np.minimum(heights[one], heights[other])
    near = left[other] - right[one] <= BLANK * np.maximum(glyph, lower)
    beside = np.minimum(bottom[one], bottom[other]) - np.maximum(top[one], top[other]) >= SAME_LINE * lower
    return one[near & beside], other[near & beside]


def _rows(pieces: Sequence[Line]) -> list[Line]:
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
    longest = max(row, key=lambda piece: piece.glyphs)
    return replace(longest, box=hull([piece.box for piece in row]), glyphs=sum(piece.glyphs for piece in row))


def _split(lines: Sequence[Line], glyph: float) -> list[Paragraph]:
    """The lines of a column by paragraph."""
    if not lines:
        return []
    steps = [after.base - before.base for before, after in pairwise(lines) if _same_size(before, after)]
    usual = float(np.percentile(steps, 25)) if steps else 0.0
    found: list[list[Line]] = [[lines[0]]]
    for place, (before, line) in enumerate(pairwise(lines), 1):
        after = lines[place + 1] if place + 1 < len(lines) else None
        step = line.base - before.base
        far = step > APART * usual or step > FARTHEST * max(before.low, line.low)
        if far or not _same_size(before, line) or _begins(line, found[-1], after, glyph):
            found.append([])
        found[-1].append(line)
    return [Paragraph(tuple(part)) for part in found]


def _same_size(one: Line, other: Line) -> bool:
    return not is_taller(one, other) and not is_taller(other, one)


def is_taller(line: Line, other: Line) -> bool:
    """Whether a line is of a larger size: by one height alone, a line of digits or without ascenders would be."""
    pairs = ((line.low, other.low), (line.high, other.high))
    return all(here >= max(TALLER * there, there + PIXELS) for here, there in pairs)


def _begins(line: Line, part: Sequence[Line], after: Line | None, glyph: float) -> bool:
    """Whether a line is indented against the paragraph before it, and what follows is not."""
    low, high = (times * glyph for times in INDENT)
    margin = min(before.box.left for before in part[-2:])
    if not low <= line.box.left - margin <= high:
        return False
    return after is None or line.box.left - after.box.left >= low
