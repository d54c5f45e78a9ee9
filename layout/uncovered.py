"""Ink that no box covers, as blocks of their own in the reading order: what the layout network did not find is read.

Knows boxes and ink; what the blocks are, `layout.segment` tells.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from PIL import Image, ImageDraw

from layout.ink import Ink
from layout.segment.page import segmented
from models.detection import Box, Detection

AWAY = 3.0  # shares of a column's width that a page's height of distance counts as
OTHER_COLUMN = float("-inf")
SAME_COLUMN = 0.3  # share of the narrower of two boxes, one over the other, from which they are in one column


def with_uncovered(detections: Sequence[Detection], ink: Ink, size: tuple[int, int]) -> list[Detection]:
    """The detections and what they leave out, in reading order; `size`: width and height of the page in pixels.

    New ones score 0, so that what a network found goes first.
    """
    if not detections:
        return [replace(one, score=0.0) for one in segmented(ink, size)]
    covered = _cover(detections, size)
    new = segmented(_free(ink, covered), size, ink)
    ordered = list(detections)
    for one in new:
        ordered.insert(_place(one.box, ordered, size), replace(one, score=0.0))
    return [replace(one, order=order) for order, one in enumerate(ordered)] if new else ordered


def _free(ink: Ink, covered: np.ndarray) -> Ink:
    """The ink that no box covers."""
    glyphs = _is_free(ink.glyphs, covered)
    rest = {name: spots[_is_free(spots, covered)] for name, spots in _others(ink).items()}
    return replace(ink, glyphs=ink.glyphs[glyphs], widths=ink.widths[glyphs], **rest)


def _others(ink: Ink) -> dict[str, np.ndarray]:
    return {name: getattr(ink, name) for name in ("specks", "strokes", "figures", "solids", "rulings")}


def _cover(detections: Sequence[Detection], size: tuple[int, int]) -> np.ndarray:
    """(rows, columns) bool: what the boxes show of the page."""
    mask = Image.new("L", size)
    pen = ImageDraw.Draw(mask)
    for found in detections:
        left, top, right, bottom = found.box
        if found.polygon:
            pen.polygon([(x, y) for x, y in found.polygon], fill=1, outline=1)
        else:
            pen.rectangle((left, top, right - 1, bottom - 1), fill=1)
    return np.asarray(mask) > 0


def _is_free(spots: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """(spots,) whether no more than half is covered, going by nine points."""
    (left, top), (width, height) = spots[:, :2].T, (spots[:, 2:] - spots[:, :2]).T
    shares = (np.arange(3)[:, None] + 0.5) / 3
    x, y = (left + shares * width).astype(int), (top + shares * height).astype(int)
    return cast(np.ndarray, covered[y[:, None], x[None]].mean(axis=(0, 1)) <= 0.5)


def _place(box: Box, ordered: Sequence[Detection], size: tuple[int, int]) -> int:
    """The place of a box among others: after what is over it in its column, or before what is under it."""
    near = [(_nearness(box, found.box, size), place) for place, found in enumerate(ordered)]
    best, place = max(near, default=(OTHER_COLUMN, 0))
    if best > OTHER_COLUMN:
        return place + (_middle(ordered[place].box) <= _middle(box))
    return sum(found.box.bottom <= box.top + box.height / 2 for found in ordered)


def _middle(box: Box) -> float:
    return (box.top + box.bottom) / 2


def _nearness(box: Box, other: Box, size: tuple[int, int]) -> float:
    """How well another box tells where one belongs, up to 1: by the column that both are in, and the way up or down.

    OTHER_COLUMN where it does not.
    """
    shared = min(box.right, other.right) - max(box.left, other.left)
    narrower, both = min(box.width, other.width), max(box.right, other.right) - min(box.left, other.left)
    if narrower <= 0 or shared < SAME_COLUMN * narrower:
        return OTHER_COLUMN
    away = max(0.0, box.top - other.bottom, other.top - box.bottom)
    return shared / both - AWAY * away / size[1]
