"""The text of some ink by columns and paragraphs, in reading order, around islands that are no text.

Knows boxes of ink, and neither pixels nor labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from layout.columns import columns
from layout.components import joined
from layout.ink import NEAR, Ink
from layout.paragraphs import Line, Paragraph, pieces_of, rows_of, split
from layout.segment.aligned import parted
from layout.segment.gutters import gutters
from layout.segment.lists import listed
from models.detection import Box, hull

SLIM = 4.0  # times its width that a wall is at least high
BLANK = 5.0  # heights of a glyph: the widest blank in justified text
BULLET = 3.0  # heights of a glyph from a bullet's left side to its text
GUTTER = 0.8  # heights of a glyph: white between columns, where wide blanks are known


@dataclass(frozen=True)
class Cells:
    """Lines whose words stand in columns under one another."""

    lines: tuple[Line, ...]

    @property
    def box(self) -> Box:
        return hull([line.box for line in self.lines])


@dataclass(frozen=True)
class Island:
    """What is no text, and lies in the flow of it."""

    place: int
    box: Box


Part = Paragraph | Cells | Island


def flow(ink: Ink, islands: Sequence[Box] = ()) -> list[list[Part]]:
    """Paragraphs, tables without rules, and islands, by column, in reading order.

    `islands` are boxes in pixels; what is in the ink must lie outside them.
    """
    walls = walls_of(ink)
    pieces = pieces_of(ink, walls)
    obstacles = np.array(islands, dtype=np.int64).reshape(-1, 4)
    between = gutters(np.concatenate([ink.glyphs, obstacles]), pieces, ink.glyph)
    walls = np.concatenate([walls, between])
    pieces = pieces_of(ink, walls)
    pieces = _with_bullets(pieces, ink.specks, ink.glyph)
    groups = _groups(pieces, walls, ink.glyph)
    boxes = [*(hull([pieces[place].box for place in group]) for group in groups), *islands]
    found: list[list[Part]] = []
    for column in columns(boxes, ink.glyph, GUTTER, [Box(*gap) for gap in between.tolist()]):
        lines = [pieces[at] for place in column if place < len(groups) for at in groups[place]]
        lands = [Island(place - len(groups), boxes[place]) for place in column if place >= len(groups)]
        found.append(_column(lines, lands, ink.glyph))
    return found


def walls_of(ink: Ink) -> np.ndarray:
    """(walls, 4) the rulings that go down."""
    widths, heights = (ink.rulings[:, 2:] - ink.rulings[:, :2]).T
    return ink.rulings[heights >= SLIM * widths]


def _groups(pieces: Sequence[Line], walls: np.ndarray, glyph: float) -> list[list[int]]:
    """Places of pieces that are one line, with wide blanks between them, and no wall."""
    boxes = np.array([piece.box for piece in pieces], dtype=np.float64).reshape(-1, 4)
    left, top, _, bottom = boxes.T
    one, other = [], []
    for place, box in enumerate(boxes):
        shared = np.minimum(bottom, box[3]) - np.maximum(top, box[1])
        beside = shared >= 0.5 * np.minimum(bottom - top, box[3] - box[1])
        after = np.flatnonzero(beside & (left >= box[2]) & (left <= box[2] + BLANK * glyph))
        nearest = after[np.argmin(left[after])] if len(after) else place
        if len(after) and not _is_parted(pieces[place].box, pieces[nearest].box, walls):
            one.append(place)
            other.append(nearest)
    roots = joined(len(pieces), np.array(one, dtype=np.int64), np.array(other, dtype=np.int64)).tolist()
    groups: dict[int, list[int]] = {}
    for place, root in enumerate(roots):
        groups.setdefault(root, []).append(place)
    return list(groups.values())


def _is_parted(box: Box, other: Box, walls: np.ndarray) -> bool:
    left, top, right, bottom = walls.T
    level = (box.top + box.bottom) / 2
    between = (box.right <= right) & (left <= other.left) & (top <= level) & (level < bottom)
    return bool(between.any())


def _column(lines: Sequence[Line], islands: Sequence[Island], glyph: float) -> list[Part]:
    """The parts of a column, from the top down."""
    found: list[Part] = []
    rows = rows_of(lines)
    ordered = sorted(islands, key=lambda island: island.box.top)
    for place, island in enumerate([*ordered, None]):
        above = rows if island is None else [row for row in rows if _is_over(row.box, island.box)]
        rows = [] if island is None else [row for row in rows if not _is_over(row.box, island.box)]
        found += _parts(above, glyph)
        found += [] if island is None else [ordered[place]]
    return found


def _parts(rows: Sequence[Line], glyph: float) -> list[Part]:
    found: list[Part] = []
    for run, is_list in listed(rows, glyph):
        if is_list:
            found.append(Paragraph(tuple(run)))
            continue
        for part, is_table in parted(run, glyph):
            found += [Cells(tuple(part))] if is_table else split(part, glyph)
    return found


def _with_bullets(pieces: Sequence[Line], specks: np.ndarray, glyph: float) -> list[Line]:
    """The pieces, those after a speck at half the height of their letters with the speck as its bullet."""
    found = []
    for piece in pieces:
        left, top, right, bottom = piece.box
        gaps = np.maximum(np.array([left, top]) - specks[:, 2:], specks[:, :2] - np.array([right, bottom])).max(axis=1)
        specks = specks[gaps > NEAR * glyph]
    left, top, right, bottom = specks.T
    for piece in pieces:
        near = (right <= piece.box.left) & (left >= piece.box.left - BULLET * glyph)
        level = (top > piece.base - piece.high) & (bottom < piece.base - piece.low / 5)
        bullets = specks[near & level]
        if len(bullets) == 1 and piece.glyphs > 1:
            parts = (Box(*bullets[0].tolist()), *piece.parts)
            piece = replace(piece, box=hull(parts), parts=parts, text=piece.box.left)
        found.append(piece)
    return found


def _is_over(box: Box, island: Box) -> bool:
    return (box.top + box.bottom) / 2 < (island.top + island.bottom) / 2
