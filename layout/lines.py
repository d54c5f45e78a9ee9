"""A block's image cut between its lines of text, for a model that reads few lines at once.

Knows ink, and pixels only to cut. Lines that run askew, as on a scanned page, are cut along.
"""

from dataclasses import replace
from itertools import pairwise
from math import ceil

import numpy as np
from PIL import Image, ImageOps

from layout.ink import find_ink
from layout.paragraphs import Line, pieces_of, rows_of

STEEPEST, STEP = 0.04, 0.002  # pixels down for one to the right: the slopes that are tried
WHOLE = 0.6  # heights of a glyph; what is lower are parts of lines beyond the edge
NO_WALLS = np.zeros((0, 4), dtype=np.int64)


def runs_of_lines(image: Image.Image, most: int) -> list[Image.Image]:
    """An RGB image from the top down, in pieces of about as many lines each, `most` at most."""
    paper = _paper(image)
    framed = ImageOps.expand(image, border=1, fill=paper)  # what runs into the edge is no ink
    ink = find_ink(framed)
    slope = _slope(ink.glyphs)
    level = replace(ink, glyphs=_levelled(ink.glyphs, slope))
    rows = [row for row in rows_of(pieces_of(level, NO_WALLS)) if row.high >= WHOLE * ink.glyph]
    runs = ceil(len(rows) / most)
    if runs < 2:
        return [image]
    firsts = [len(rows) * run // runs for run in range(1, runs)]
    cuts = [_between(rows[first - 1], rows[first], level.glyphs) for first in firsts]
    around = abs(slope) * framed.width  # so that the outer cuts leave nothing out
    ends = [-around, *cuts, framed.height + around]
    return [_cut(framed, paper, slope, top, bottom) for top, bottom in pairwise(ends)]


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


def _paper(image: Image.Image) -> tuple[int, ...]:
    """The usual colour of an RGB image."""
    return tuple(np.median(np.asarray(image)[::4, ::4].reshape(-1, 3), axis=0).astype(int).tolist())


def _cut(image: Image.Image, paper: tuple[int, ...], slope: float, top: float, bottom: float) -> Image.Image:
    """What lies between two heights at the left side, from where they go down by `slope`; paper around it."""
    down = slope * np.arange(image.width)
    first, last = max(0, round(top + down.min())), min(image.height, round(bottom + down.max()))
    piece = np.array(image.crop((0, first, image.width, last)))
    heights = np.arange(first, last)[:, None] - down
    piece[(heights < round(top)) | (heights >= round(bottom))] = paper
    return Image.fromarray(piece)
