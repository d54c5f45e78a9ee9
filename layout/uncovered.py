"""Ink that no box covers, as blocks of their own in the reading order: what the layout network did not find is read.

Knows boxes and ink. With no detections at all, the whole page is made into blocks here.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from PIL import Image, ImageDraw

from layout.ink import Ink
from layout.paragraphs import HIGH, LOW, Line, Paragraph, is_taller, paragraphs
from models.detection import Box, Detection

MARGIN = 2  # pixels of paper around the ink
DIRT = 0.6  # heights of a glyph; lower lines are dirt
HEADING_LINES = 3  # more lines of a larger size are text
AWAY = 3.0  # shares of a column's width that a page's height of distance counts as
SAME_COLUMN = 0.3  # share of the narrower of two boxes, one over the other, from which they are in one column


def with_uncovered(detections: Sequence[Detection], ink: Ink, size: tuple[int, int]) -> list[Detection]:
    """The detections and what they leave out, in reading order; `size`: width and height of the page.

    New ones score 0 and are labelled text, paragraph_title or doc_title by their size, or image.
    """
    covered = _cover(detections, size)
    rest = replace(ink, glyphs=_only_free(ink.glyphs, covered), specks=_only_free(ink.specks, covered))
    body = _usual_line(ink)
    found = [part for part in paragraphs(rest) if part.longest.high >= DIRT * ink.glyph]
    new = [_detection(_label(part, body), rest.with_specks(part.box), size) for part in found]
    if not detections and _is_page_title(found, body):
        new[0] = replace(new[0], label="doc_title")
    images = [_detection("image", Box(*box), size) for box in _only_free(ink.figures, covered).tolist()]
    if not new and not images:
        return list(detections)
    ordered = list(detections)
    for one in new:
        ordered.insert(_place(one.box, ordered, size) if detections else len(ordered), one)
    for one in images:
        ordered.insert(_place(one.box, ordered, size), one)
    return [replace(one, order=order) for order, one in enumerate(ordered)]


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


def _only_free(spots: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """The spots of which no more than half is covered, going by nine points."""
    (left, top), (width, height) = spots[:, :2].T, (spots[:, 2:] - spots[:, :2]).T
    shares = (np.arange(3)[:, None] + 0.5) / 3
    x, y = (left + shares * width).astype(int), (top + shares * height).astype(int)
    return cast(np.ndarray, spots[covered[y[:, None], x[None]].mean(axis=(0, 1)) <= 0.5])


def _usual_line(ink: Ink) -> Line:
    """A line as most of the page's glyphs would make it."""
    heights = ink.glyphs[:, 3] - ink.glyphs[:, 1] if len(ink.glyphs) else np.array([ink.glyph])
    low, high = np.percentile(heights, (LOW, HIGH)).tolist()
    return Line(Box(0, 0, 0, 0), low, high, base=0, glyphs=len(heights))


def _label(part: Paragraph, body: Line) -> str:
    is_heading = len(part.lines) <= HEADING_LINES and part.longest.glyphs > 1 and is_taller(part.longest, body)
    return "paragraph_title" if is_heading else "text"


def _is_page_title(found: Sequence[Paragraph], body: Line) -> bool:
    """Whether a page begins with its largest heading."""
    if not found or _label(found[0], body) == "text":
        return False
    return all(is_taller(found[0].longest, other.longest) for other in found[1:])


def _detection(label: str, box: Box, size: tuple[int, int]) -> Detection:
    left, top, right, bottom = map(int, box)
    around = Box(
        max(0, left - MARGIN), max(0, top - MARGIN), min(size[0], right + MARGIN), min(size[1], bottom + MARGIN)
    )
    return Detection(label, 0.0, around, 0)


def _place(box: Box, ordered: Sequence[Detection], size: tuple[int, int]) -> int:
    """The place of a box among others: after what is over it in its column, or before what is under it."""
    near = [(_nearness(box, found.box, size), place) for place, found in enumerate(ordered)]
    best, place = max(near, default=(0.0, 0))
    if best > 0:
        return place + (_middle(ordered[place].box) <= _middle(box))
    return sum(found.box.bottom <= box.top + box.height / 2 for found in ordered)


def _middle(box: Box) -> float:
    return (box.top + box.bottom) / 2


def _nearness(box: Box, other: Box, size: tuple[int, int]) -> float:
    """How well another box tells where one belongs, up to 1: by the column that both are in, and the way up or down."""
    shared = min(box.right, other.right) - max(box.left, other.left)
    narrower, both = min(box.width, other.width), max(box.right, other.right) - min(box.left, other.left)
    if narrower <= 0 or shared < SAME_COLUMN * narrower:
        return 0.0
    away = max(0.0, box.top - other.bottom, other.top - box.bottom)
    return max(1e-6, shared / both - AWAY * away / size[1])
