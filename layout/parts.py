"""The images that a model is to see of a block: one, or parts cut between its lines where it reads few of them at once.

Knows ink, and pixels only to cut. Lines that run askew, as on a scanned page, are cut along.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from layout.blocks import Block
from layout.cells import drawn, set_anew
from layout.crops import crop, padded
from layout.ink import Ink, find_ink
from layout.options import Kind
from layout.paragraphs import Line, pieces_of, rows_of
from models.protocol import BlockLimits

STEEPEST, STEP = 0.04, 0.002  # pixels down for one to the right: the slopes that are tried
WHOLE = 0.6  # heights of a glyph; what is lower are parts of lines beyond the edge
ACROSS = 0.6  # share of a table's width that a rule between rows fills
NEARER = 0.85  # times the widest step between lines of a table: steps within a cell
BORDER = 6  # pixels of paper around text; letters that fill their image are read far worse
NO_WALLS = np.zeros((0, 4), dtype=np.int64)


T = TypeVar("T")


@dataclass(frozen=True)
class Lines:
    """The lines of an image as they would be if they were level at their left end."""

    rows: Sequence[Line]
    slope: float  # pixels down for one to the right
    ink: Ink


def images_of(page: Image.Image, block: Block, max_aspect: int, limits: BlockLimits) -> list[Image.Image]:
    """A block that is read, cut out of an upright RGB page, from the top down; `max_aspect` as `crops.crop` has it."""
    assert block.task is not None
    image = crop(page, block, max_aspect)
    return [padded(part, max_aspect) for part in parts_of(image, block.task.kind, limits)]


def parts_of(image: Image.Image, kind: Kind, limits: BlockLimits) -> list[Image.Image]:
    """A block's image as it is, or in parts if it is text or a table and the model reads only so much at once."""
    if kind == "ocr" and limits.lines:
        return parts_of_text(image, limits.lines)
    if kind == "table" and limits.rows:
        return parts_of_table(image, limits.rows)
    return [image]


def parts_of_text(image: Image.Image, most: int) -> list[Image.Image]:
    """An RGB image of text from the top down, in parts of about as many lines each, `most` at most, on more paper."""
    framed, paper = _framed(image)
    lines = _lines_of(framed)
    cuts = [_between(*pair, lines.ink.glyphs) for pair in _chosen(list(pairwise(lines.rows)), most)]
    return [ImageOps.expand(part, BORDER - 1, paper) for part in _parts(framed, lines.slope, cuts, paper)]


def parts_of_table(image: Image.Image, most: int) -> list[Image.Image]:
    """An RGB image of a table from the top down, in parts of about as many rows each, `most` at most.

    Where its cells can be told apart, it is set anew, narrow and without rules.
    """
    framed, paper = _framed(image)
    lines = _lines_of(framed)
    rules = [_rule_between(*pair, lines.ink.rulings, image.width) for pair in pairwise(lines.rows)]
    cuts = [rule for rule in rules if rule is not None]
    if len(cuts) < 2:  # none, or one under the head
        cuts = [_between(*pair, lines.ink.glyphs) for pair in pairwise(lines.rows) if not _goes_on(*pair, lines.rows)]
    rows = set_anew(framed, lines.ink, cuts) if not lines.slope else None
    if rows is None:
        return _parts(framed, lines.slope, _chosen(cuts, most), paper)
    ends = [0, *_chosen(range(1, len(rows)), most), len(rows)]
    return [drawn(rows[first:last], lines.ink.glyph, paper) for first, last in pairwise(ends)]


def _framed(image: Image.Image) -> tuple[Image.Image, tuple[int, ...]]:
    """The image with a pixel of paper around it, as what runs into the edge is no ink; and the colour of paper."""
    paper = tuple(np.median(np.asarray(image)[::4, ::4].reshape(-1, 3), axis=0).astype(int).tolist())
    return ImageOps.expand(image, 1, paper), paper


def _lines_of(image: Image.Image) -> Lines:
    ink = find_ink(image)
    slope = _slope(ink.glyphs)
    level = replace(ink, glyphs=_levelled(ink.glyphs, slope))
    rows = [row for row in rows_of(pieces_of(level, NO_WALLS)) if row.high >= WHOLE * ink.glyph]
    return Lines(rows, slope, level)


def _slope(glyphs: np.ndarray) -> float:
    """Pixels down for one to the right, along which most glyphs stand level with others."""
    steps = round(STEEPEST / STEP)
    slopes = [STEP * step for step in sorted(range(-steps, steps + 1), key=abs)]
    return max(slopes, key=lambda slope: _standing_level(_levelled(glyphs, slope)))


def _standing_level(glyphs: np.ndarray) -> int:
    """Pairs of glyphs that stand at the same height."""
    feet = glyphs[:, 3] - glyphs[:, 3].min(initial=0)
    return int((np.bincount(feet) ** 2).sum())


def _levelled(glyphs: np.ndarray, slope: float) -> np.ndarray:
    """The boxes, moved to where they would be if the lines were level at their left end."""
    down = np.round(slope * (glyphs[:, 0] + glyphs[:, 2]) / 2).astype(np.int64)
    return glyphs - np.stack([np.zeros_like(down), down], axis=1)[:, [0, 1, 0, 1]]


def _between(line: Line, below: Line, glyphs: np.ndarray) -> float:
    """The height between two lines that the fewest glyphs reach across."""
    heights = np.arange(round(line.base), max(round(line.base), round(below.base - below.low)) + 1)
    reaching = ((glyphs[:, 1, None] < heights) & (glyphs[:, 3, None] > heights)).sum(axis=0)
    fewest = heights[reaching == reaching.min()]
    return float(fewest[len(fewest) // 2])


def _rule_between(line: Line, below: Line, rulings: np.ndarray, width: int) -> float | None:
    """The height of a rule across between two lines."""
    left, top, right, bottom = rulings.T
    found = (right - left >= ACROSS * width) & (top >= line.base - 1) & (bottom <= below.base)
    return float(bottom[found].max()) if found.any() else None


def _goes_on(line: Line, below: Line, rows: Sequence[Line]) -> bool:
    """Whether a line of a table is the second of some cells: nearer than others, and not in all columns."""
    widest = max(after.base - before.base for before, after in pairwise(rows))
    return below.base - line.base < NEARER * widest and len(below.parts) < max(len(row.parts) for row in rows)


def _chosen(gaps: Sequence[T], most: int) -> list[T]:
    """The gaps to cut at, so that the parts between them have about as many lines each, `most` at most."""
    count = len(gaps) + 1
    parts = ceil(count / most)
    return [gaps[count * part // parts - 1] for part in range(1, parts)]


def _parts(image: Image.Image, slope: float, cuts: Sequence[float], paper: tuple[int, ...]) -> list[Image.Image]:
    """The image cut at heights at its left side, from where the cuts go down by `slope`; paper around slanted parts."""
    around = abs(slope) * image.width  # so that the outer cuts leave nothing out
    return [_part(image, slope, *ends, paper) for ends in pairwise([-around, *cuts, image.height + around])]


def _part(image: Image.Image, slope: float, top: float, bottom: float, paper: tuple[int, ...]) -> Image.Image:
    down = slope * np.arange(image.width)
    first, last = max(0, round(top + down.min())), min(image.height, round(bottom + down.max()))
    part = np.array(image.crop((0, first, image.width, last)))
    heights = np.arange(first, last)[:, None] - down
    part[(heights < round(top)) | (heights >= round(bottom))] = paper
    return Image.fromarray(part)
