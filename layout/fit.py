"""Boxes of text fitted to the ink that is theirs: glyphs cut by an edge are taken in whole, slivers of others left out.

Knows boxes and ink, and no pixels. A network's boxes are off by some pixels; what the model sees of a glyph's half it
reads as another glyph.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from layout.blocks import TABLE
from layout.ink import Ink
from layout.paragraphs import neighbours
from layout.tasks import IMAGES
from models.detection import Box, Detection, hull

MINE = 0.5  # share of a glyph in a box, from which it belongs there
MARGIN = 2  # pixels of paper around the ink
SHRINK = 1.0  # heights of a glyph by which a side moves inwards at most; what is too faint to be ink may be there


def fitted(detections: Sequence[Detection], ink: Ink, size: tuple[int, int]) -> list[Detection]:
    """The detections in the same order, boxes of text and tables changed; `size`: width and height of the page.

    Images stay as they are, as does what has an outline that is not its box. Tables only grow. Text grows along its
    lines too, as far as these go on without more than a blank and reach no other box.
    """
    if not detections:
        return []
    glyphs = ink.glyphs
    owners = _owners(detections, glyphs)
    strokes = _owners(detections, ink.strokes)
    longer = _with_rest_of_lines(detections, glyphs, owners, ink.glyph)
    result = []
    for place, found in enumerate(detections):
        mine = ink.strokes[strokes[place]]
        box = _fit(found, glyphs[owners[place]], mine, ink)
        if (longer[place] != owners[place]).any():
            long_box = _fit(found, glyphs[longer[place]], mine, ink)
            others = [other.box for other in detections if other is not found]
            box = box if any(long_box.shared(other) > box.shared(other) for other in others) else long_box
        result.append(_with_box(found, box, size))
    return result


def _owners(detections: Sequence[Detection], spots: np.ndarray) -> np.ndarray:
    """(detections, spots) bool: whether a spot lies mostly in a box, and more so in none of the others.

    A box without such spots, as around a page number, has those that it touches.
    """
    boxes = np.array([found.box for found in detections], dtype=np.float64)[:, None]
    sides = np.minimum(boxes[..., 2:], spots[:, 2:]) - np.maximum(boxes[..., :2], spots[:, :2])
    areas = (spots[:, 2:] - spots[:, :2]).prod(axis=-1)
    shares = np.maximum(sides, 0).prod(axis=-1) / areas
    owners = np.greater_equal(shares, np.maximum(shares.max(axis=0), MINE))
    idle = ~owners.any(axis=1)
    return owners | (idle[:, None] & ~owners.any(axis=0) & (shares > 0))


def _with_rest_of_lines(
    detections: Sequence[Detection], glyphs: np.ndarray, owners: np.ndarray, glyph: float
) -> np.ndarray:
    """Owners, with glyphs of no box given to the text whose line they go on."""
    text = np.array([_is_text(found) for found in detections])
    owners = owners.copy()
    one, other = neighbours(glyphs, glyph)
    free = owners.sum(axis=0) == 0
    while free.any():
        takers = np.zeros_like(owners)
        for first, second in ((one, other), (other, one)):
            reached = free[second] & ~free[first]
            np.logical_or.at(takers.T, second[reached], owners.T[first[reached]])
        takers &= text[:, None] & (takers.sum(axis=0) == 1)
        taken = takers.any(axis=0) & free
        if not taken.any():
            break
        owners |= takers & taken
        free &= ~taken
    return owners


def _is_text(found: Detection) -> bool:
    return found.label not in IMAGES and found.label != TABLE and not _has_outline(found)


def _has_outline(found: Detection) -> bool:
    """Whether there is an outline other than the box."""
    return found.polygon is not None and any(
        x not in (found.box.left, found.box.right) or y not in (found.box.top, found.box.bottom)
        for x, y in found.polygon
    )


def _fit(found: Detection, glyphs: np.ndarray, strokes: np.ndarray, ink: Ink) -> Box:
    box = found.box
    if found.label in IMAGES or _has_outline(found):
        return box
    with_strokes = found.label == TABLE or "formula" in found.label
    spots = [Box(*spot) for spot in (np.concatenate([glyphs, strokes]) if with_strokes else glyphs).tolist()]
    if not spots:
        return box
    if found.label == TABLE:
        return hull([box, *spots])
    left, top, right, bottom = ink.with_specks(hull(spots))
    inwards = SHRINK * ink.glyph
    return Box(
        min(left - MARGIN, box.left + inwards),
        min(top - MARGIN, box.top + inwards),
        max(right + MARGIN, box.right - inwards),
        max(bottom + MARGIN, box.bottom - inwards),
    )


def _with_box(found: Detection, box: Box, size: tuple[int, int]) -> Detection:
    if box == found.box:
        return found
    left, top, right, bottom = map(round, box)
    box = Box(max(0, left), max(0, top), min(size[0], right), min(size[1], bottom))
    corners = ((box.left, box.top), (box.right, box.top), (box.right, box.bottom), (box.left, box.bottom))
    return replace(found, box=box, polygon=found.polygon and corners)
