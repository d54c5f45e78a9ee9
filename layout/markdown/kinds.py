"""What a label means for the Markdown of a page, and where blocks lie to one another."""

from typing import Literal, TypeAlias

from layout.blocks import Block
from layout.pages import ReadBlock, ReadPage
from layout.tasks import IMAGES
from models.detection import Box

Kind: TypeAlias = Literal["heading", "table", "formula", "tag", "code", "lines", "chart", "image", "page", "text"]

_KINDS: dict[str, Kind] = {
    "doc_title": "heading",
    "paragraph_title": "heading",
    "table": "table",
    "formula": "formula",
    "display_formula": "formula",
    "inline_formula": "formula",
    "formula_number": "tag",
    "algorithm": "code",
    "content": "lines",
    "ocr": "page",  # PaddleX's label of a page that is one block: its text may hold all of these
}
_CAPTIONS = {"figure_title", "vision_footnote"}
_NOTES = {"footnote", "aside_text"}
FLOATS = IMAGES | _CAPTIONS | _NOTES | {"table", "number", "header", "footer"}
"""Labels of what may stand between the halves of a sentence; the text goes on behind it."""
ALIGNED = 0.5  # share of the lower of two boxes that lies beside the other from which they are on one line


def kind_of(block: ReadBlock) -> Kind:
    """How a block is written."""
    label, is_read = block.block.label, block.block.task is not None
    if label == "chart" and is_read:
        return "chart"
    if block.image is not None or (label in IMAGES and not is_read):
        return "image"
    return _KINDS.get(label, "text")


def flows(block: ReadBlock) -> bool:
    """Whether the block's last sentence may go on in another block."""
    return kind_of(block) == "text" and block.block.label not in FLOATS


def extent(block: Block) -> tuple[float, float]:
    """Width and height in pixels of a block's boxes, stacked as they are read."""
    return max(part.box.width for part in block.parts), sum(part.box.height for part in block.parts)


def side(page: ReadPage) -> float:
    """The root of the page's area in pixels; lengths over it are alike on pages of all resolutions."""
    return max(1.0, float(page.size[0] * page.size[1])) ** 0.5


def beside(one: Block, other: Block) -> bool:
    """Whether two blocks are on one line."""
    first, second = one.parts[-1].box, other.parts[0].box
    shared = min(first.bottom, second.bottom) - max(first.top, second.top)
    return shared >= ALIGNED * min(first.height, second.height)


def begins_column(before: Box, after: Box) -> bool:
    """Whether a box is at the start of another column than the one before it."""
    return after.top < before.bottom and min(before.right, after.right) <= max(before.left, after.left)


def last_of_page(page: ReadPage, index: int) -> bool:
    """Whether what follows a block on its page may stand below a table that goes on over the page."""
    return all(one.block.running or one.block.label in _CAPTIONS | _NOTES for one in page.blocks[index + 1 :])


def first_of_page(page: ReadPage, index: int) -> bool:
    """Whether what comes before a block on its page may stand above a table that goes on from the last page."""
    return all(one.block.running or one.block.label == "figure_title" for one in page.blocks[:index])


def marker_of_error(block: ReadBlock) -> str:
    """What stands where a block could not be read."""
    return f"[unreadable: {block.block.label.replace('_', ' ')}]"
