"""Whether a sentence or a table goes on in another block: behind figures, in the next column, on the next page."""

import re
from dataclasses import dataclass

from layout.markdown import grids, kinds, lines, lists
from layout.pages import ReadBlock, ReadPage
from models.detection import Box

WIDTHS = 1.2  # factor up to which blocks of one text differ in width
TABLE_WIDTHS = 1.1  # the same for the halves of a table; source: PaddleX 3.7, restructure_pages

_LEADS_ON = re.compile(
    r"(?:,|[،、，]|\b(?:the|a|an|of|and|or|in|to|for|with|by|from|der|die|das|den|dem|und|oder|von|mit|für|im|zu"
    r"|de|la|le|les|des|du|et|el|los|las|y|en))\Z",
    re.IGNORECASE,
)
_CONTINUED = re.compile(r"continued|\bcont[.'’]|[(（]?[续續]|fortsetzung|\bsuite\b|continuación", re.IGNORECASE)


@dataclass
class Item:
    """A block that has been read, or of which the first words are known."""

    page: ReadPage
    read: ReadBlock
    index: int  # place in `page.blocks`
    raw: str = ""  # text as the model wrote it

    @property
    def label(self) -> str:
        return self.read.block.label

    @property
    def size(self) -> tuple[float, float]:
        return kinds.extent(self.read.block)

    @property
    def floats(self) -> bool:
        return self.label in kinds.FLOATS


@dataclass
class Sentence:
    """A sentence that has not ended at the end of a block."""

    page: int
    label: str
    box: Box  # the last one it was read in
    raw: str  # its last block's text
    width: float = 0.0  # em, all blocks so far
    in_list: lists.ListWriter | None = None

    def goes_on(self, item: Item, start: str, behind_floats: bool) -> bool:
        """Whether it goes on in an item that begins with `start`, at least a word of it."""
        if item.label != self.label or not start or lists.marker(start.split("\n")[0]):
            return False
        box = item.read.block.parts[0].box
        moved = behind_floats or item.page.index > self.page or kinds.begins_column(self.box, box)
        if self.raw[-1] in lines.HYPHENS and not self.raw[-2:-1].isspace():
            return start[0].islower() or (moved and start[0].isalnum())
        if start[0].islower():
            return moved or self.width >= lines.LONG
        if not moved:
            return False
        if _LEADS_ON.search(self.raw):
            return True
        like = 1 / WIDTHS <= box.width / max(1, self.box.width) <= WIDTHS
        caseless = start[0].isalpha() and not start[0].isupper()
        inner = start[0].isdigit() or start.startswith(("(", "（", "\\("))
        return self.width >= lines.LONG and like and (caseless or inner)


def continued_table(above: Item, last_page: int, below: Item) -> str | None:
    """The text of a table whose last row so far is on `last_page`, with the rows of one that continues it, or None."""
    if below.page.index != last_page + 1 or not kinds.first_of_page(below.page, below.index):
        return None
    one, other = (item.size[0] / max(1, item.page.size[0]) for item in (above, below))
    if not 1 / TABLE_WIDTHS <= one / max(other, 1e-9) <= TABLE_WIDTHS or above.read.error or below.read.error:
        return None
    return grids.joined(above.raw, below.raw)


def announces(item: Item) -> bool:
    """Whether a caption says that the table below it continues another."""
    return item.label == "figure_title" and bool(_CONTINUED.search(item.raw))
