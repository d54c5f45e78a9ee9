"""A page's ink -> its blocks, with labels and in reading order; the room's one entrance.

Knows boxes of ink, and no pixels and no words.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from layout.ink import Ink
from layout.paragraphs import Line, Paragraph, is_taller, pieces_of
from layout.segment.edges import Edge, edges
from layout.segment.flow import Cells, Island, Part, flow, walls_of
from layout.segment.labels import BESIDE, NOTE_RULE, Place, is_heading, is_title, label_of, usual_line, whole_headings
from layout.segment.regions import Region, regions
from models.detection import Box, Detection, hull

MARGIN = 1  # pixels of paper around the ink
DIRT = 0.6  # heights of a glyph; lower lines are dirt
RULE_SHARE = 0.6  # share of a column; the rule over footnotes is shorter
TEXT_SCORE, LABEL_SCORE = 0.8, 0.6  # text is surer than what place and size tell


def segmented(ink: Ink, size: tuple[int, int], page: Ink | None = None) -> list[Detection]:
    """The blocks of some ink, scored by how sure their labels are; `size`: width and height of the page in pixels.

    `page`: all ink, where `ink` is only what other boxes leave over; what is usual on the page is measured there.
    """
    whole = page or ink
    body = usual_line(whole)
    found = regions(ink)
    text = _outside(ink, [region.box for region in found])
    ends = [] if page else edges(pieces_of(text, walls_of(text)), body, text, [one.box for one in found], size[1])
    inner = _outside(text, [hull([piece.box for piece in pieces]) for _, pieces in ends])
    columns = [whole_headings(column, body) for column in flow(inner, [region.box for region in found])]
    blocks = [block for column in columns for block in _labelled(column, found, body, inner)]
    if not page:
        blocks = _with_title(blocks, columns, body)
    around = [_of_edge(one, text) for one in ends]
    blocks = [
        *(one for one in around if one[1].top < size[1] / 2),
        *blocks,
        *(one for one in around if one[1].top >= size[1] / 2),
    ]
    return [_detection(*block, order, size) for order, block in enumerate(blocks)]


Block = tuple[str, Box, float]


def _of_edge(edge: Edge, ink: Ink) -> Block:
    label, pieces = edge
    return label, ink.with_specks(hull([piece.box for piece in pieces])), LABEL_SCORE


def _outside(ink: Ink, boxes: Sequence[Box]) -> Ink:
    """The ink whose middle is in none of the boxes."""
    glyphs, specks, strokes = (_is_free(spots, boxes) for spots in (ink.glyphs, ink.specks, ink.strokes))
    return replace(
        ink,
        glyphs=ink.glyphs[glyphs],
        widths=ink.widths[glyphs],
        specks=ink.specks[specks],
        strokes=ink.strokes[strokes],
        rulings=ink.rulings[_is_free(ink.rulings, boxes)],
    )


def _is_free(spots: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    x, y = (spots[:, :2] + spots[:, 2:]).T / 2
    free = np.ones(len(spots), dtype=bool)
    for left, top, right, bottom in boxes:
        free &= (x < left) | (x >= right) | (y < top) | (y >= bottom)
    return free


def _labelled(column: Sequence[Part], found: Sequence[Region], body: Line, ink: Ink) -> list[Block]:
    """The blocks of a column."""
    if not column:
        return []
    whole = hull([part.box for part in column])
    noted = False
    blocks: list[Block] = []
    for part in column:
        if isinstance(part, Island):
            region = found[part.place]
            blocks.append((region.label, region.box, region.score))
        elif isinstance(part, Cells):
            blocks.append(("table", ink.with_specks(part.box), LABEL_SCORE))
        elif part.longest.high >= DIRT * ink.glyph:
            noted = noted or _is_under_rule(part.box, whole, ink)
            near = [region.box for region in found if _is_beside(part.box, region.box, ink.glyph)]
            label = label_of(Place(part, whole, near, noted), body, ink)
            score = TEXT_SCORE if label == "text" else LABEL_SCORE
            blocks.append((label, ink.with_specks(part.box), score))
    return blocks


def _is_beside(box: Box, region: Box, glyph: float) -> bool:
    gap = max(box.top - region.bottom, region.top - box.bottom)
    return gap <= BESIDE * glyph and min(box.right, region.right) > max(box.left, region.left)


def _is_under_rule(box: Box, column: Box, ink: Ink) -> bool:
    rules = [Box(*stroke) for stroke in ink.strokes.tolist()]
    return any(
        rule.width <= RULE_SHARE * column.width
        and rule.height < ink.glyph
        and abs(rule.left - column.left) <= 2 * ink.glyph
        and 0 <= box.top - rule.bottom <= NOTE_RULE * ink.glyph
        for rule in rules
    )


def _with_title(blocks: Sequence[Block], columns: Sequence[Sequence[Part]], body: Line) -> list[Block]:
    """The blocks, the first being the page's title if it is its largest heading."""
    parts = [part for column in columns for part in column if not isinstance(part, Island)]
    if not blocks or blocks[0][0] != "paragraph_title" or not isinstance(parts[0], Paragraph):
        return list(blocks)
    others = [part.longest for part in parts[1:] if isinstance(part, Paragraph) and is_heading(part, body)]
    if not is_taller(parts[0].longest, body) or not is_title(parts[0].longest, others):
        return list(blocks)
    return [("doc_title", *blocks[0][1:]), *blocks[1:]]


def _detection(label: str, box: Box, score: float, order: int, size: tuple[int, int]) -> Detection:
    left, top, right, bottom = map(int, box)
    around = Box(
        max(0, left - MARGIN), max(0, top - MARGIN), min(size[0], right + MARGIN), min(size[1], bottom + MARGIN)
    )
    return Detection(label, score, around, order)
