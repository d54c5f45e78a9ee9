"""Boxes in reading order -> the blocks that are read, each with one image and one prompt.

Knows labels and boxes; the pixels are cut out in `layout/crops.py`. Equal to `filter_overlap_boxes` and `merge_blocks`
of PaddleX 3.7 (inference/pipelines/paddleocr_vl/uilts.py), but for these faults of theirs:

- Boxes labelled `reference` are all dropped, also where no entries were found in them: missing references.
- Of two inline formulas that overlap, both are dropped. Here the larger stays.
- A box too thin to be kept drops others before it goes itself. Here it goes first.
- A stack that comes out too tall is left as it was, but what lies between its boxes is moved behind them all the same.
  Here it keeps its place.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from layout import polygons
from layout.figures import Figure, figures_in, held
from layout.options import LayoutOptions
from layout.tasks import RUNNING, Task, kept_as_image, task_of
from models.detection import Box, Detection, hull

Align: TypeAlias = Literal["left", "right", "center"]

MIN_SIDE = 6  # pixels; thinner boxes hold nothing that can be read
FORMULA_OVERLAP = 0.5  # above this share, the text around a formula holds it already
OVERLAP = 0.7  # above this share of the smaller, two boxes are one
SHOWN = frozenset({"image", "table", "seal", "chart"})  # labels of what may lie in or under other blocks
FORMULA, SECTION, ENTRY, TABLE, TEXT = "inline_formula", "reference", "reference_content", "table", "text"

ALIGNED = 5  # pixels between edges that count as one line
GUTTER = 0.3  # the next column begins nearer than this share of the wider of two columns
GAP = 0.5  # the next line begins nearer than this share of the taller of two boxes
MAX_STACK_ASPECT = 3  # height over width; a stack that is as tall is no longer read well


@dataclass(frozen=True)
class Block:
    """One or more boxes that are read as one image, stacked in their order."""

    parts: tuple[Detection, ...]
    aligns: tuple[Align, ...] = ()  # how each part but the first lies below those before it
    task: Task | None = None  # None: kept as an image
    figures: tuple[Figure, ...] = ()  # what lies in a table, a token painted over each

    @property
    def label(self) -> str:
        return self.parts[0].label

    @property
    def running(self) -> bool:
        """Whether it is a header, footer or page number, which a page's text leaves out by default."""
        return self.label in RUNNING


def blocks_of(detections: Sequence[Detection], options: LayoutOptions) -> list[Block]:
    """Blocks in reading order from what `boxes.select` kept.

    Figures that lie in a table are part of its block, and blocks of their own only if they are to be read.
    """
    return blocks_from(without_overlaps(detections), detections, options)


def blocks_from(kept: Sequence[Detection], detections: Sequence[Detection], options: LayoutOptions) -> list[Block]:
    """Blocks in reading order from boxes without overlaps. `detections`: those that had a say in the tokens."""
    tables = [found for found in kept if found.label == TABLE]
    in_tables = {id(found) for found in kept for table in tables if held(found, table)}
    own = [found for found in kept if id(found) not in in_tables or found.label in options.read]
    blocks = stack(own, options.read) if options.merge_blocks else [Block((found,)) for found in own]
    return [
        replace(
            block,
            task=task_of(block.label, options.read, options.bounds),
            figures=figures_in(block.parts[0], detections) if block.label == TABLE else (),
        )
        for block in blocks
    ]


def without_overlaps(detections: Sequence[Detection]) -> list[Detection]:
    """The boxes without those that repeat what another one holds, in the same order."""
    found = [one for one in detections if min(one.box.width, one.box.height) >= MIN_SIDE]
    found = [one for one in found if one.label != SECTION or not _is_covered(one, found)]
    dropped: set[int] = set()
    for i, one in enumerate(found):
        for j, other in enumerate(found[i + 1 :], i + 1):
            if i not in dropped and j not in dropped and (loser := _loser(one, other)):
                dropped.add(i if loser is one else j)
    return [one for i, one in enumerate(found) if i not in dropped]


def _is_covered(section: Detection, found: Sequence[Detection]) -> bool:
    """Whether the entries found in a section of references hold its text."""
    entries = sum(section.box.shared(one.box) for one in found if one.label == ENTRY)
    return entries > OVERLAP * section.box.area


def _loser(one: Detection, other: Detection) -> Detection | None:
    """The one of two boxes that repeats the other; None if both stay."""
    share = one.box.overlap(other.box)
    smaller = other if one.box.area >= other.box.area else one
    formulas = [found for found in (one, other) if found.label == FORMULA]
    if formulas and share > FORMULA_OVERLAP:
        return smaller if len(formulas) == 2 else formulas[0]
    if share <= OVERLAP or (one.polygon and other.polygon and polygons.overlap(one.polygon, other.polygon) < OVERLAP):
        return None
    labels = {one.label, other.label}
    if len(labels) == 2 and labels & SHOWN and (TABLE not in labels or labels <= SHOWN):
        return None
    return smaller


def stack(detections: Sequence[Detection], read: Collection[str] = ()) -> list[Block]:
    """Blocks in reading order, without their tasks: texts that the end of a column or a figure parts are put together.

    What lies between the boxes of a stack comes after it.
    """
    figures = [found.box for found in detections if _stands_alone(found, read)]
    blocks: list[Block] = []
    last: int | None = None  # place of the block that the next text may continue
    for found in detections:
        alone = _stands_alone(found, read)
        align = None if alone or last is None else _continues(blocks[last].parts[-1], found, figures)
        if last is not None and align is not None:
            block = blocks[last]
            blocks[last] = replace(block, parts=(*block.parts, found), aligns=(*block.aligns, align))
            continue
        last = last if alone else len(blocks)
        blocks.append(Block((found,)))
    pieces = [piece for block in blocks for piece in _split_if_tall(block)]
    return sorted(pieces, key=lambda piece: piece.parts[0].order)


def _stands_alone(found: Detection, read: Collection[str]) -> bool:
    return found.label == TABLE or kept_as_image(found.label, read)


def _split_if_tall(block: Block) -> list[Block]:
    width, height = max(part.box.width for part in block.parts), sum(part.box.height for part in block.parts)
    if height < MAX_STACK_ASPECT * width:
        return [block]
    return [replace(block, parts=(part,), aligns=()) for part in block.parts]


def _continues(before: Detection, found: Detection, figures: Sequence[Box]) -> Align | None:
    """How `found` lies below the text `before` it, if it is read with it."""
    if before.label != TEXT or found.label != TEXT:
        return None
    first, second = before.box, found.box
    if min(first.right, second.right) <= max(first.left, second.left):
        return "center" if _is_next_column(first, second) else None
    left, right = abs(first.left - second.left) <= ALIGNED, abs(first.right - second.right) <= ALIGNED
    if left == right or not _is_next_line(first, second) or not _touches(hull([first, second]), figures):
        return None
    return "left" if left else "right"


def _is_next_column(first: Box, second: Box) -> bool:
    gutter = second.left - first.right
    return 0 < gutter < GUTTER * max(first.width, second.width) and second.top < first.bottom


def _is_next_line(first: Box, second: Box) -> bool:
    return abs(second.top - first.bottom) < GAP * max(first.height, second.height)


def _touches(box: Box, figures: Sequence[Box]) -> bool:
    return any(box.shared(figure) > 0 for figure in figures)
