"""Tables with rules, and images: the regions of a page that are no flow of text, by their rules, frames and figures.

Knows boxes of ink only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from layout.components import joined
from layout.ink import Ink
from layout.paragraphs import Line, pieces_of, rows_of
from layout.segment.aligned import is_grid
from layout.segment.flow import walls_of
from models.detection import Box, hull

PAGE = 0.8  # share of both sides of what is printed, from which a frame is that of the page
MOST = 1000  # spots of drawings that are looked at, the largest first; every two are compared

# Heights of a glyph:
FRAME = 2.5  # shorter side of a frame
IMAGE = 5.0  # shorter side of an image
SAME_SIDE = 1.0  # between the ends of rules of one table
NEAR = 1.0  # between parts of one drawing
ROW, ROWS = 1.2, 4.6  # from a table to the row beside it, and to a head of two lines

SPARSE = 0.12  # share of a frame that glyphs fill, below which it is an image with words in it
FEW = 0.03  # the same for a grid, which may be an empty form


@dataclass(frozen=True)
class Region:
    """A block that is read or kept as a whole, in pixels."""

    label: str
    box: Box
    score: float


def regions(ink: Ink) -> list[Region]:
    """Tables and images, none within another."""
    pieces = pieces_of(ink, walls_of(ink))
    found = [*_framed(ink, pieces), *_between_rules(ink, pieces)]
    tables = [_with_rows_beside(one, pieces, ink.glyph) for one in _outermost(found) if one.label == "table"]
    images = _whole_images([*(one for one in found if one.label == "image"), *_drawn(ink)], NEAR * ink.glyph)
    return _outermost([*tables, *(one for one in images if not any(one.box.overlap(at.box) > 0.5 for at in tables))])


def _whole_images(images: Sequence[Region], distance: float) -> list[Region]:
    """Images, those that touch as one."""
    boxes = np.array([image.box for image in images], dtype=np.int64).reshape(-1, 4)
    groups = _near(boxes, distance)
    return [Region("image", hull([images[place].box for place in group]), images[group[0]].score) for group in groups]


def _with_rows_beside(table: Region, pieces: Sequence[Line], glyph: float) -> Region:
    """A table with the row over its first rule, which may have two lines, and that under its last."""
    inside = [piece for piece in pieces if _is_within(piece.box, table.box)]
    left, top, right, bottom = table.box
    box = table.box
    for start, end in ((top - ROW * glyph, top), (top - ROWS * glyph, top), (bottom, bottom + ROW * glyph)):
        strip = Box(left - glyph, start, right + glyph, end)
        row = [piece for piece in pieces if piece.box.overlap(strip) > 0 and piece not in inside]
        lines = rows_of(row)
        if not lines or len(lines[0 if end == top else -1].parts) < 2:
            continue  # a single text is a caption
        if all(_is_between(piece.box, strip) for piece in row) and _is_table([*inside, *row], glyph):
            box = hull([box, *(piece.box for piece in row)])
    return Region("table", box, table.score)


def _is_between(box: Box, strip: Box) -> bool:
    return box.left >= strip.left and box.right <= strip.right


def _outermost(found: Sequence[Region]) -> list[Region]:
    """The larger of those that overlap."""
    kept: list[Region] = []
    for one in sorted(found, key=lambda region: -region.box.area):
        if not any(one.box.overlap(other.box) > 0.5 for other in kept):
            kept.append(one)
    return kept


def _framed(ink: Ink, pieces: Sequence[Line]) -> list[Region]:
    """Grids of words, and frames with hardly any."""
    frames = [Box(*stroke) for stroke in ink.strokes.tolist()]
    frames = [box for box in frames if min(box.width, box.height) >= FRAME * ink.glyph]
    page = hull([*frames, *(piece.box for piece in pieces)]) if frames else Box(0, 0, 0, 0)
    found = []
    for box in frames:
        inside = [piece for piece in pieces if _is_within(piece.box, box)]
        share = sum(piece.glyphs for piece in inside) * ink.glyph**2 / box.area
        crossings = _crossings(ink, box)
        if (min(crossings) > 0 and share >= FEW) or (inside and _is_table(inside, ink.glyph)):
            found.append(Region("table", box, 0.9 if min(crossings) > 0 else 0.7))
        elif share < SPARSE and min(box.width, box.height) >= IMAGE * ink.glyph and not _is_page(box, page):
            found.append(Region("image", box, 0.8))
    return found


def _is_page(box: Box, page: Box) -> bool:
    return box.width >= PAGE * page.width and box.height >= PAGE * page.height


def _is_within(box: Box, other: Box) -> bool:
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    return other.left <= x < other.right and other.top <= y < other.bottom


def _crossings(ink: Ink, box: Box) -> tuple[int, int]:
    """Rulings down and across within a frame, apart from its sides."""
    left, top, right, bottom = ink.rulings.T
    near = SAME_SIDE * ink.glyph
    within = (left >= box.left) & (right <= box.right) & (top >= box.top) & (bottom <= box.bottom)
    down = within & (bottom - top > right - left) & (left > box.left + near) & (right < box.right - near)
    across = within & (right - left > bottom - top) & (top > box.top + near) & (bottom < box.bottom - near)
    return int(down.sum()), int(across.sum())


def _is_table(pieces: Sequence[Line], glyph: float) -> bool:
    rows = rows_of(pieces)
    return len(rows) > 1 and is_grid([row.parts for row in rows], glyph)


def _between_rules(ink: Ink, pieces: Sequence[Line]) -> list[Region]:
    """Cells between rules across, one under the other and of one length."""
    rules = [Box(*stroke) for stroke in ink.strokes.tolist()]
    rules = sorted((box for box in rules if box.width > 4 * box.height), key=lambda box: box.top)
    found: list[Region] = []
    while rules:
        chain = [rules[0]]
        rest: list[Box] = []
        for rule in rules[1:]:
            (chain if _goes_on(chain, rule, pieces, ink.glyph) else rest).append(rule)
        rules = rest
        box = hull(chain)
        inside = [piece for piece in pieces if _is_within(piece.box, box)]
        if len(chain) > 1 and _is_table(inside, ink.glyph):
            found.append(Region("table", hull([box, *(piece.box for piece in inside)]), 0.9))
    return found


def _goes_on(chain: Sequence[Box], rule: Box, pieces: Sequence[Line], glyph: float) -> bool:
    """Whether a rule is of the table that some begin: what is between them is a grid."""
    last = chain[-1]
    if abs(rule.left - last.left) > SAME_SIDE * glyph or abs(rule.right - last.right) > SAME_SIDE * glyph:
        return False
    between = Box(last.left, last.bottom, last.right, rule.top)
    inside = [piece for piece in pieces if _is_within(piece.box, between)]
    return bool(inside) and is_grid([row.parts for row in rows_of(inside)], glyph)


def _drawn(ink: Ink) -> list[Region]:
    """Figures, and drawings without a frame: large strokes and solid areas near each other."""
    found = [Region("image", Box(*figure), 0.8) for figure in ink.figures.tolist()]
    spots = np.concatenate([ink.figures, ink.strokes, ink.solids])
    if not len(spots):
        return []
    page = hull([Box(*spot) for spot in np.concatenate([spots, ink.glyphs]).tolist()])
    large = (spots[:, 2:] - spots[:, :2]).min(axis=1) >= ink.glyph
    spots = spots[large & ~np.array([_is_page(Box(*spot), page) for spot in spots.tolist()])]
    largest = np.argsort(-(spots[:, 2:] - spots[:, :2]).prod(axis=1), kind="stable")[:MOST]
    spots = spots[largest]
    middles = (ink.glyphs[:, :2] + ink.glyphs[:, 2:]) / 2
    for group in _near(spots, NEAR * ink.glyph):
        box = hull([Box(*spots[place]) for place in group])
        is_large = min(box.width, box.height) >= IMAGE * ink.glyph
        if len(group) > 1 and is_large and _share(middles, box, ink.glyph) < SPARSE:
            found.append(Region("image", box, 0.7))
    return found


def _near(spots: np.ndarray, distance: float) -> list[list[int]]:
    """Places of spots that are near each other."""
    gaps = np.maximum(spots[:, None, :2] - spots[None, :, 2:], spots[None, :, :2] - spots[:, None, 2:]).max(axis=-1)
    one, other = np.nonzero(gaps <= distance)
    groups: dict[int, list[int]] = {}
    for place, root in enumerate(joined(len(spots), one, other).tolist()):
        groups.setdefault(root, []).append(place)
    return list(groups.values())


def _share(middles: np.ndarray, box: Box, glyph: float) -> float:
    x, y = middles.T
    inside = (x >= box.left) & (x < box.right) & (y >= box.top) & (y < box.bottom)
    return float(inside.sum() * glyph**2 / box.area)
