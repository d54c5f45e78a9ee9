"""Gutters between columns of text: tall strips of white with lines of text on both sides.

Knows boxes of ink only. Blanks in justified text may be wider than the gutter beside it, but none is as tall.
"""

from collections.abc import Sequence
from math import ceil

import numpy as np

from layout.components import components
from layout.paragraphs import Line, rows_of
from models.detection import Box

MOST = 50  # strips that are looked at, the tallest first; on a noisy scan there is no end of them

# Heights of a glyph:
CELL = 0.25
WHITE = 0.9  # width of the white
TALL = 12.0  # height of a gutter, some six lines
REACH = 8.0  # to the text on either side; the last line of a paragraph ends further away
LINE = 1.0  # white between two lines that belong together
BREAK = 7.0  # white beside a gutter, as between paragraphs, or where one ends
BEYOND = 20.0  # by which a gutter goes on at both ends while there is white
PROSE, FILLED = 10.0, 0.6  # beside a gutter, most lines fill so much of this width; cells of a table fill less
STRAIGHT = 0.8  # share of a gutter's height in which its width is white


def gutters(ink: np.ndarray, pieces: Sequence[Line], glyph: float) -> np.ndarray:
    """(gutters, 4) boxes; `ink`: (spots, 4) boxes of what a gutter cannot cross."""
    if not len(ink):
        return np.zeros((0, 4), dtype=np.int64)
    cell = CELL * glyph
    filled = _filled(ink, cell)
    white = _is_white(filled, ceil(WHITE / CELL))
    lines = _dilated(filled, ceil(LINE / CELL))
    left, right = _reached(lines, ceil(REACH / CELL))
    flanked = _closed(white & left & right, white, ceil(BREAK / CELL))
    tall = _tall(flanked, ceil(TALL / CELL))
    strips = components(tall).boxes
    tallest = np.argsort(strips[:, 1] - strips[:, 3], kind="stable")[:MOST]
    found = [np.array(_core(tall, white, box)) * cell for box in strips[tallest]]
    kept = [gutter.astype(np.int64) for gutter in found if _is_between_prose(gutter, pieces, glyph)]
    return np.array(kept, dtype=np.int64).reshape(-1, 4)


def _filled(ink: np.ndarray, cell: float) -> np.ndarray:
    """(rows, columns) bool: the cells with ink."""
    places = (ink / cell).astype(np.int64)
    filled = np.zeros((places[:, 3].max() + 2, places[:, 2].max() + 2), dtype=bool)
    for left, top, right, bottom in places.tolist():
        filled[top : bottom + 1, left : right + 1] = True
    return filled


def _is_white(filled: np.ndarray, width: int) -> np.ndarray:
    """Cells in the middle of so many without ink."""
    padded = np.pad(filled, ((0, 0), (width // 2, width - width // 2 - 1)))
    return np.asarray(~np.lib.stride_tricks.sliding_window_view(padded, width, axis=1).any(axis=2))


def _dilated(filled: np.ndarray, height: int) -> np.ndarray:
    padded = np.pad(filled, ((height, height), (0, 0)))
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * height + 1, axis=0).any(axis=2))


def _reached(filled: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether there is ink within reach to the left, and to the right."""
    places = np.arange(filled.shape[1])
    last = np.maximum.accumulate(np.where(filled, places, -reach - 1), axis=1)
    far = filled.shape[1] + reach + 1
    following = np.minimum.accumulate(np.where(filled, places, far)[:, ::-1], axis=1)[:, ::-1]
    return places - last <= reach, following - places <= reach


def _closed(flanked: np.ndarray, white: np.ndarray, height: int) -> np.ndarray:
    """White with text on both sides, also where the text is missing for no more than so many cells."""
    places = np.arange(len(white))[:, None]
    far = 2 * len(white) + height
    above = np.maximum.accumulate(np.where(flanked, places, -far), axis=0)
    below = np.minimum.accumulate(np.where(flanked, places, far)[::-1], axis=0)[::-1]
    ink_above = np.maximum.accumulate(np.where(white, -far, places), axis=0)
    ink_below = np.minimum.accumulate(np.where(white, far, places)[::-1], axis=0)[::-1]
    return white & (below - above <= height) & (ink_above < above) & (below < ink_below)


def _tall(marks: np.ndarray, height: int) -> np.ndarray:
    """Marks in columns of at least so many."""
    places = np.arange(len(marks))[:, None]
    above = np.maximum.accumulate(np.where(marks, -1, places), axis=0)
    below = np.minimum.accumulate(np.where(marks, len(marks), places)[::-1], axis=0)[::-1]
    return marks & (below - above > height)


def _core(tall: np.ndarray, white: np.ndarray, box: np.ndarray) -> tuple[int, int, int, int]:
    """The straight part of a strip, without the bays of indents and short lines, as far as it is white."""
    left, top, right, bottom = box.tolist()
    heights = tall[top:bottom, left:right].sum(axis=0)
    straight = left + np.flatnonzero(heights >= STRAIGHT * heights.max())
    line = white[:, straight[len(straight) // 2]]
    furthest = ceil(BEYOND / CELL)
    for _ in range(furthest):
        top -= top > 0 and bool(line[top - 1])
        bottom += bottom < len(line) and bool(line[bottom])
    return int(straight[0]), top, int(straight[-1]) + 1, bottom


def _is_between_prose(gutter: np.ndarray, pieces: Sequence[Line], glyph: float) -> bool:
    """Whether most lines on both sides are as full as those of text."""
    left, top, right, bottom = gutter.tolist()
    middle = (left + right) / 2
    level = [piece for piece in pieces if top <= (piece.box.top + piece.box.bottom) / 2 < bottom]
    before = [piece for piece in level if middle - 4 * PROSE * glyph <= piece.box.right <= middle]
    after = [piece for piece in level if middle <= piece.box.left <= middle + 4 * PROSE * glyph]
    shares = [_share(row.parts[::-1], -1, glyph) for row in rows_of(before)]
    others = [_share(row.parts, 1, glyph) for row in rows_of(after)]
    return all(len(side) > 1 and float(np.median(side)) >= FILLED for side in (shares, others))


def _share(parts: Sequence[Box], side: int, glyph: float) -> float:
    """How much of a line is filled, going to one side from its end at the gutter."""
    reach = PROSE * glyph
    if side > 0:
        start, end = parts[0].left, parts[0].left + reach
    else:
        start, end = parts[0].right - reach, parts[0].right
    return sum(max(0.0, min(end, part.right) - max(start, part.left)) for part in parts) / reach
