"""Ink on a page: spots that may be glyphs, apart from rules, frames, figures, specks and the edges of a scan.

Knows pixels, and neither blocks nor reading order. Dark pages are read as their negative, and flat panels on a page,
such as the dark head of a table, by the ink within. All lengths are relative to the height of a glyph on the page.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from PIL import Image

from layout.components import Components, components
from models.detection import Box, hull

LONGEST = 2400  # pixels; larger pages are made smaller first, as their glyphs have pixels to spare
HUGE = 15  # glyphs on the longer side of the page; what is larger tells nothing of the others
TILES = 40  # on the longer side of the page, each with a brightness of its own
PAPER = 0.8  # quantile of a tile's pixels that is taken for paper
AROUND = 3  # tiles on each side; paper is as bright as the brightest
SHADOW = 0.6  # a tile darker than this share of the page's paper is ink, not paper in a shadow
INK = 0.75  # share of the paper's brightness below which a pixel is ink
DARK = 110  # grey level of 255; a page with a lower median is light on dark
CONTRAST = 50  # grey levels between a panel and the ink on it
FLAT = 24  # grey levels within which a pixel is the panel itself
PANEL_SHARE = 0.7  # pixels of a panel or a grid that have its level, or that of the paper

# Heights of a glyph:
SPECK, NEAR = 0.35, 0.6  # size of a dot, and distance from the text that it belongs to
THIN, LONG = 0.4, 4.0  # a rule
TALL = 6.0  # no glyph is taller
WIDE, ROW = 8.0, 2.2  # a frame around a line or more of text
# Shorter sides of panels and figures, by the longer over the shorter: bold letters are as large, but not as long.
SOLID = {4: 1.8, 2: 3.0, 1: TALL}
DENSE, SPARSE = 0.5, 0.25  # shares of its box that a spot fills: solid from the first on, a frame below the second
RULING = 0.7  # share of a frame's or a grid's side that a straight line fills
WHOLE = 0.8  # the same for a figure at the edge of the page, where the shadow of a slanted sheet fills half of its box


@dataclass(frozen=True)
class Ink:
    """What is printed on a page; arrays are (spots, 4) int64: left, top, right, bottom in pixels of the page."""

    glyph: float  # height of a usual glyph in pixels
    glyphs: np.ndarray
    specks: np.ndarray  # dots and commas, and dirt
    strokes: np.ndarray  # rules and frames
    figures: np.ndarray  # photos and other solid areas
    solids: np.ndarray  # flat areas, such as bars of a chart or panels under text
    rulings: np.ndarray  # straight lines of frames and grids, across or down
    widths: np.ndarray  # (glyphs,) of their strokes in pixels, on average

    def with_specks(self, box: Box) -> Box:
        """The box, grown to the dots and commas beside it."""
        if not len(self.specks):
            return box
        reach = NEAR * self.glyph
        x, y = (self.specks[:, :2] + self.specks[:, 2:]).T / 2
        level = (y >= box.top - reach) & (y < box.bottom + reach)
        near = self.specks[level & (x >= box.left - reach) & (x < box.right + reach)]
        return hull([box, *(Box(*speck) for speck in near.tolist())])


def find_ink(page: Image.Image) -> Ink:
    """The ink of an upright RGB page."""
    factor = ceil(max(page.size) / LONGEST)
    grey = np.asarray(page.convert("L").reduce(factor) if factor > 1 else page.convert("L"))
    if np.median(grey[::4, ::4]) < DARK:
        grey = 255 - grey
    is_ink = _is_ink(grey)
    found = components(is_ink)
    glyph = _usual_height(found.boxes, max(grey.shape))
    panels, figures = _solid_areas(grey, is_ink, found, glyph)
    spots = [_without_edges(found, grey.shape), *(_within_panel(grey, panel) for panel in panels)]
    boxes, areas = np.concatenate([one.boxes for one in spots]), np.concatenate([one.areas for one in spots])
    glyph = _usual_height(boxes, max(grey.shape))
    kinds = _kinds(boxes, areas, glyph)
    outside = ~_is_inside(boxes, figures)
    rows = [boxes[(kinds == kind) & outside] for kind in ("glyph", "speck", "stroke")]
    solids = boxes[(kinds == "") & outside]
    rulings = _rulings(is_ink, rows[2], glyph)
    widths = (areas / np.concatenate([one.runs for one in spots]))[(kinds == "glyph") & outside]
    return Ink(glyph * factor, *(row * factor for row in (*rows, figures, solids, rulings, widths)))


def _is_ink(grey: np.ndarray) -> np.ndarray:
    """(rows, columns) bool: whether a pixel is clearly darker than the paper around it."""
    height, width = grey.shape
    side = max(16, 2 * ceil(max(height, width) / TILES / 2))
    down, across = ceil(height / side), ceil(width / side)
    padded = np.pad(grey, ((0, down * side - height), (0, across * side - width)), mode="edge")[::2, ::2]
    tiles = padded.reshape(down, side // 2, across, side // 2).swapaxes(1, 2).reshape(down, across, -1)
    place = int(PAPER * (tiles.shape[-1] - 1))
    paper = np.partition(tiles, place, axis=-1)[..., place].astype(np.float32)
    whole = np.median(paper)
    paper[paper < SHADOW * whole] = whole
    around = np.lib.stride_tricks.sliding_window_view(np.pad(paper, AROUND, mode="edge"), (2 * AROUND + 1,) * 2)
    paper = around.max(axis=(2, 3))  # light parts of a photo are darker than the paper nearby
    limits = (INK * paper).astype(np.uint8)
    limits = np.repeat(np.repeat(limits, side, axis=0)[:height], side, axis=1)[:, :width]
    return grey < limits


def _usual_height(boxes: np.ndarray, longest: int) -> float:
    """Height of a glyph in pixels: of half of the ink that may be glyphs, going by height, the glyphs are smaller."""
    widths, heights = _sides(boxes)
    plausible = np.sort(
        heights[(heights >= 4) & (heights <= longest / HUGE) & (widths >= heights / 4) & (widths <= 4 * heights)]
    )
    if not len(plausible):
        return 10.0
    return float(plausible[np.searchsorted(np.cumsum(plausible), plausible.sum() / 2)])


def _sides(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]


def _solid_areas(
    grey: np.ndarray, is_ink: np.ndarray, found: Components, glyph: float
) -> tuple[list[np.ndarray], np.ndarray]:
    """Boxes of flat panels, and (figures, 4) boxes of photos and the like, joined where they overlap."""
    widths, heights = _sides(found.boxes)
    left, top, right, bottom = found.boxes.T
    inside = (left > 0) & (top > 0) & (right < grey.shape[1]) & (bottom < grey.shape[0])
    whole = found.areas >= WHOLE * widths * heights
    solid = _is_solid(widths, heights, found.areas, glyph)
    large = np.minimum(widths, heights) > TALL * glyph
    panels: list[np.ndarray] = []
    figures: list[np.ndarray] = []
    for place in np.flatnonzero((solid & (inside | whole)) | (large & inside)):
        box = found.boxes[place]
        if not _is_flat(grey, is_ink, box):
            figures.append(box)
        elif solid[place]:
            panels.append(box)
        else:
            panels += _dark_rows(is_ink, box, glyph)
    joined: list[np.ndarray] = []
    for box in figures:
        touching = [other for other in joined if _meet(box, other)]
        every = np.stack([box, *touching])
        joined = [other for other in joined if not _meet(box, other)]
        joined.append(np.concatenate([every[:, :2].min(axis=0), every[:, 2:].max(axis=0)]))
    return panels, np.array(joined, dtype=np.int64).reshape(-1, 4)


def _is_solid(widths: np.ndarray, heights: np.ndarray, areas: np.ndarray, glyph: float) -> np.ndarray:
    longer, shorter = np.maximum(widths, heights), np.minimum(widths, heights)
    large = [(shorter >= side * glyph) & (longer >= times * shorter) for times, side in SOLID.items()]
    return np.any(large, axis=0) & (areas >= DENSE * widths * heights)


def _meet(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((np.maximum(one[:2], other[:2]) < np.minimum(one[2:], other[2:])).all())


def _part(grey: np.ndarray, box: np.ndarray) -> np.ndarray:
    left, top, right, bottom = box
    return grey[top:bottom, left:right]


def _is_flat(grey: np.ndarray, is_ink: np.ndarray, box: np.ndarray) -> bool:
    """Whether there are hardly more than two levels in a box, that of its ink and that of its paper."""
    part, ink = _part(grey, box)[::2, ::2].astype(np.int16), _part(is_ink, box)[::2, ::2]
    levels = [np.median(part[side]) for side in (ink, ~ink) if side.any()]
    near = np.any([np.abs(part - level) <= FLAT for level in levels], axis=0)
    return bool(near.mean() >= PANEL_SHARE)


def _dark_rows(is_ink: np.ndarray, box: np.ndarray, glyph: float) -> list[np.ndarray]:
    """Boxes of the rows of a grid that are a panel, such as the dark head of a table."""
    left, top, right = box[:3].tolist()
    dark = _part(is_ink, box).mean(axis=1) >= DENSE
    rows = [(top + start, top + end) for start, end in _spans(dark)]
    return [np.array([left, start, right, end]) for start, end in rows if end - start >= SOLID[4] * glyph]


def _within_panel(grey: np.ndarray, panel: np.ndarray) -> Components:
    """Spots on a panel, lighter or darker, without those that reach its box, which are the page around it."""
    part = _part(grey, panel).astype(np.int16)
    return _without_edges(components(np.abs(part - np.median(part)) > CONTRAST), part.shape).moved(panel[0], panel[1])


def _without_edges(found: Components, shape: tuple[int, ...]) -> Components:
    """Without spots that run into the edge; a scan has the shadows of the sheet there."""
    left, top, right, bottom = found.boxes.T
    return found.only((left > 0) & (top > 0) & (right < shape[1]) & (bottom < shape[0]))


def _kinds(boxes: np.ndarray, areas: np.ndarray, glyph: float) -> np.ndarray:
    """(spots,) "glyph", "speck", "stroke", or "" for solid areas, which are panels or figures."""
    widths, heights = _sides(boxes)
    longer, shorter = np.maximum(widths, heights), np.minimum(widths, heights)
    share = areas / np.maximum(widths * heights, 1)
    speck = longer <= max(2, SPECK * glyph)
    rule = (shorter <= max(2, THIN * glyph)) & (longer >= LONG * glyph)
    frame = (heights > TALL * glyph) | ((widths > WIDE * glyph) & (heights > ROW * glyph) & (share < SPARSE))
    solid = _is_solid(widths, heights, areas, glyph)
    return np.select([speck, solid, rule | frame], ["speck", "", "stroke"], "glyph")


def _rulings(is_ink: np.ndarray, strokes: np.ndarray, glyph: float) -> np.ndarray:
    """(rulings, 4) boxes of the straight lines that strokes are made of."""
    found: list[list[int]] = []
    for stroke in strokes:
        part = _part(is_ink, stroke)
        left, top, right, bottom = stroke.tolist()
        if right - left >= LONG * glyph:
            found += [[left, top + start, right, top + end] for start, end in _spans(part.mean(axis=1) >= RULING)]
        if bottom - top >= LONG * glyph:
            found += [[left + start, top, left + end, bottom] for start, end in _spans(part.mean(axis=0) >= RULING)]
    return np.array(found, dtype=np.int64).reshape(-1, 4)


def _spans(marks: np.ndarray) -> list[tuple[int, int]]:
    """First place, and first place outside, of every run of marks."""
    changes = np.flatnonzero(np.diff(np.pad(marks, 1).astype(np.int8))).tolist()
    return list(zip(changes[::2], changes[1::2], strict=True))


def _is_inside(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(boxes,) whether the middle of a box lies in one of the others."""
    x, y = (boxes[:, :2] + boxes[:, 2:]).T[:, :, None] / 2
    left, top, right, bottom = others.T
    inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    return np.asarray(inside.any(axis=1))
