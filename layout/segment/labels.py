"""Labels of paragraphs by their size, weight and place: titles, captions, formulas, footnotes.

Knows lines and boxes; what is written is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from layout.ink import Ink
from layout.paragraphs import HIGH, LOW, Line, Paragraph, is_taller
from layout.segment.flow import Part
from models.detection import Box

HEADING_LINES = 3  # more lines of a larger size are text
BOLD = 1.15  # times the width of usual strokes; measured: text below 1.15, bold headings above 1.17
TITLE = 1.1  # times the heights of all other headings
CAPTION_LINES = 4
FORMULA_GLYPHS = 60
SMALLER = 0.93  # heights of capitals, of which small print has no more
LEADING = 1.2  # heights of a heading's capitals between its lines
SAME_SIZE = 1.15  # between lines of one heading
RAGGED = 0.45  # share of a column that a heading leaves empty before it goes on in the next line

# Heights of a glyph:
BESIDE = 3.0  # between a caption and what it belongs to
CENTRED = 1.5  # between the middles of a line and its column
INDENT = 2.0  # white on both sides of a centred line
NOTE_RULE = 3.0  # between a short rule and the first note under it


@dataclass(frozen=True)
class Place:
    """A paragraph in its column."""

    part: Paragraph
    column: Box
    beside: Sequence[Box]  # tables and images directly over and under it
    is_under_rule: bool  # under a short rule, or under a note that is


def usual_line(ink: Ink) -> Line:
    """A line as most of the page's glyphs would make it."""
    heights = ink.glyphs[:, 3] - ink.glyphs[:, 1] if len(ink.glyphs) else np.array([ink.glyph])
    low, high = np.percentile(heights, (LOW, HIGH)).tolist()
    stroke = float(np.median(ink.widths)) if len(ink.widths) else 1.0
    return Line(Box(0, 0, 0, 0), low, high, base=0, glyphs=len(heights), stroke=stroke, parts=())


def label_of(place: Place, body: Line, ink: Ink) -> str:
    """The label of a paragraph that is not the page's title."""
    part, line = place.part, place.part.longest
    if place.is_under_rule and not is_taller(line, body):
        return "footnote"
    centred = all(_is_centred(one.box, place.column, ink.glyph) for one in part.lines)
    if centred and sum(one.glyphs for one in part.lines) <= FORMULA_GLYPHS and _is_formula(part, ink):
        return "display_formula"
    if is_heading(part, body):
        return "paragraph_title"
    if len(part.lines) <= CAPTION_LINES and _is_caption(place, body, centred):
        return "figure_title"
    return "text"


def is_heading(part: Paragraph, body: Line) -> bool:
    line = part.longest
    return len(part.lines) <= HEADING_LINES and line.glyphs > 1 and (is_taller(line, body) or is_bold(line, body))


def whole_headings(column: Sequence[Part], body: Line) -> list[Part]:
    """The parts of a column, lines of one heading being one part."""
    if not column:
        return []
    right = max(part.box.right for part in column)
    found: list[Part] = []
    for part in column:
        last = found[-1] if found else None
        if isinstance(last, Paragraph) and isinstance(part, Paragraph) and _goes_on(last, part, body, right):
            found[-1] = Paragraph((*last.lines, *part.lines))
        else:
            found.append(part)
    return found


def _goes_on(heading: Paragraph, part: Paragraph, body: Line, right: float) -> bool:
    """Whether a part is the next line of a heading, whose last line reaches nearly as far as its column."""
    line, other = heading.lines[-1], part.lines[0]
    return (
        is_heading(heading, body)
        and is_heading(part, body)
        and other.box.top - line.box.bottom <= LEADING * line.high
        and any(max(pair) <= SAME_SIZE * min(pair) for pair in ((line.low, other.low), (line.high, other.high)))
        and right - line.box.right <= RAGGED * (right - heading.box.left)
    )


def is_bold(line: Line, body: Line) -> bool:
    return line.stroke >= BOLD * body.stroke


def is_title(first: Line, others: Sequence[Line]) -> bool:
    """Whether the heading that a page begins with is larger than its other headings."""
    return all(first.low >= TITLE * other.low or first.high >= TITLE * other.high for other in others)


def _is_centred(box: Box, column: Box, glyph: float) -> bool:
    left, right = box.left - column.left, column.right - box.right
    return abs(left - right) <= 2 * CENTRED * glyph and min(left, right) >= INDENT * glyph


def _is_formula(part: Paragraph, ink: Ink) -> bool:
    """Whether there is a sign of equality: two dashes of one length, one over the other."""
    left, top, right, bottom = part.box
    spots = np.concatenate([ink.glyphs, ink.specks, ink.strokes])
    inside = (spots[:, 0] >= left) & (spots[:, 2] <= right) & (spots[:, 1] >= top) & (spots[:, 3] <= bottom)
    spots = spots[inside]
    widths, heights = (spots[:, 2:] - spots[:, :2]).T
    dashes = spots[(widths >= 2 * heights) & (widths >= 0.4 * ink.glyph) & (widths <= 2 * ink.glyph)]
    sides = np.abs(dashes[:, None, [0, 2]] - dashes[None, :, [0, 2]]).max(axis=-1, initial=0)
    down = dashes[None, :, 1] - dashes[:, None, 3]
    return bool(((sides <= 2) & (down > 0) & (down <= ink.glyph)).any())


def _is_caption(place: Place, body: Line, centred: bool) -> bool:
    line = place.part.longest
    small = line.high <= SMALLER * body.high and is_smaller(line, body)
    return (bool(place.beside) and (centred or small)) or (centred and small)


def is_smaller(line: Line, body: Line) -> bool:
    return line.low <= body.low and line.high < body.high
