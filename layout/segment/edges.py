"""What stands at the head and the foot of a page, apart from its body: running titles and page numbers.

Knows lines and rules only.
"""

from collections.abc import Sequence

import numpy as np

from layout.ink import Ink
from layout.paragraphs import Line, is_taller, rows_of
from layout.segment.labels import is_bold
from models.detection import Box

HEAD, FOOT = 0.12, 0.86  # heights of the page, above and below which the edges are
APART = 1.7  # heights of a glyph to the body, where no rule is between
SPLIT = 3.0  # heights of a glyph between two texts of one edge
NEAR, NOTE_RULE = 3.0, 0.9  # from a rule to the note under it in heights of a glyph, and its length by the note's
NUMBER = 5  # glyphs of a page number, with its dashes

Edge = tuple[str, list[Line]]


def edges(pieces: Sequence[Line], body: Line, ink: Ink, others: Sequence[Box], height: int) -> list[Edge]:
    """Labels and pieces of what is at the edges; `others`: blocks of the body; `height`: of the page in pixels."""
    rows = rows_of(pieces)
    tops = [row.box.top for row in rows] + [box.top for box in others]
    bottoms = [row.box.bottom for row in rows] + [box.bottom for box in others]
    found: list[Edge] = []
    for row in rows[:1]:
        below = min((top for top in tops if top > row.box.top), default=float(height))
        below = min([below, *_rules(ink, row.box.bottom, below)])
        if row.box.bottom <= HEAD * height and _is_running(row, body):
            found += _texts(row, pieces, "header", ink.glyph) if _is_apart(row.box.bottom, below, ink) else []
    for row in rows[-1:] if len(rows) > 1 else ():
        above = max((bottom for bottom in bottoms if bottom < row.box.bottom), default=0.0)
        is_running = _is_running(row, body) and not _is_note(row, ink)
        if row.box.top >= FOOT * height and is_running and _is_apart(above, row.box.top, ink):
            found += _texts(row, pieces, "footer", ink.glyph)
    return found


def _is_running(row: Line, body: Line) -> bool:
    return not is_taller(row, body) and not (is_bold(row, body) and row.high >= body.high)


def _is_note(row: Line, ink: Ink) -> bool:
    """Whether a row is under a short rule where it begins, as footnotes are."""
    left, top, right, bottom = ink.strokes.T
    begins = (np.abs(left - row.box.left) <= ink.glyph) & (right - left <= NOTE_RULE * row.box.width)
    return bool(
        (
            begins & (bottom - top < ink.glyph) & (bottom <= row.box.top) & (row.box.top - bottom <= NEAR * ink.glyph)
        ).any()
    )


def _rules(ink: Ink, top: float, bottom: float) -> list[float]:
    return [rule for rule in ink.strokes[:, 1].tolist() if top <= rule < bottom]


def _is_apart(bottom: float, top: float, ink: Ink) -> bool:
    """Whether there is a rule, or enough white, between what ends and what begins."""
    rules = ink.strokes[ink.strokes[:, 3] - ink.strokes[:, 1] < ink.glyph]
    return bool(((rules[:, 1] >= bottom - 1) & (rules[:, 3] <= top + 4)).any()) or top - bottom >= APART * ink.glyph


def _texts(row: Line, pieces: Sequence[Line], label: str, glyph: float) -> list[Edge]:
    """The texts of an edge from left to right; few glyphs are a page number."""
    of_row = sorted((piece for piece in pieces if piece.box in row.parts), key=lambda piece: piece.box.left)
    texts: list[list[Line]] = []
    for piece in of_row:
        if texts and piece.box.left - texts[-1][-1].box.right <= SPLIT * glyph:
            texts[-1].append(piece)
        else:
            texts.append([piece])
    return [("number" if sum(piece.glyphs for piece in text) <= NUMBER else label, text) for text in texts]
