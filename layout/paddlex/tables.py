"""Tables that go on over a page, joined as PaddleX's `mergeTables` does it, which took the rules from MinerU.

Equal to PaddleX 3.7 (inference/pipelines/layout_parsing/merge_table.py), but for these faults of theirs:

- A title that says "continued" before the second table parts both, since it is looked for in attributes that blocks do
  not have. Here it joins them.
- Of two tables that share all rows, nothing of the second is left, but its rows are counted as a header. Here a table
  keeps at least its last row.

Where a document's tables are very long, those of its first pages stay apart: to parse each one anew for every page
would take minutes.
"""

from collections.abc import Sequence
from itertools import pairwise

from bs4 import BeautifulSoup
from bs4.element import Tag

from layout.paddlex.parsed import ParsedBlock

MAX_HEADER_ROWS = 5
MAX_PARSED = 2_000_000  # characters of tables that are parsed for one document, some seconds' work
MAX_COLUMNS = 1000  # counting ends there
SIMILAR_WIDTH = 0.1  # difference of widths over the smaller
AFTER = frozenset({"footer", "vision_footnote", "number", "footnote", "footer_image", "seal"})
"""Labels of what may follow the first part of a table on its page."""
BEFORE = frozenset({"header", "header_image", "number", "seal"})
"""Labels of what may precede its second part."""
CONTINUED = ("continue", "cont'd", "cont‘d", "续", "續")
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}


def join_tables(pages: Sequence[Sequence[ParsedBlock]]) -> None:
    """Move the rows of every table that begins a page into the one that ends the page before, where both are one.

    Blocks must have their global ids; a table whose rows have gone keeps its box, and names the other one's group.
    """
    parsed = 0
    for before, after in reversed(list(pairwise(pages))):
        first = next((block for block in reversed(before) if block.label == "table"), None)
        second = next((block for block in after if block.label == "table"), None)
        if first is None or second is None or not _adjacent(before, first, after, second):
            continue
        parsed += len(first.content) + len(second.content)
        if parsed > MAX_PARSED:
            break
        joined = joined_html(first.content, second.content)
        if joined is not None:
            first.content, second.content = joined, ""
            second.global_group_id = first.global_block_id
    blocks = {block.global_block_id: block for page in pages for block in page}
    for block in blocks.values():
        if block.global_group_id != block.global_block_id:
            block.global_group_id = blocks[block.global_group_id].global_group_id


def _adjacent(
    before: Sequence[ParsedBlock], first: ParsedBlock, after: Sequence[ParsedBlock], second: ParsedBlock
) -> bool:
    """Whether two tables are as wide and nothing but what pages repeat is between them."""
    widths = [block.bbox[2] - block.bbox[0] for block in (first, second)]
    if min(widths) <= 0 or abs(widths[0] - widths[1]) / min(widths) >= SIMILAR_WIDTH:
        return False
    places = [
        next(i for i, block in enumerate(page) if block is one) for page, one in ((before, first), (after, second))
    ]
    return all(block.label in AFTER for block in before[places[0] + 1 :]) and all(
        block.label in BEFORE or any(word in block.content.lower() for word in CONTINUED)
        for block in after[: places[1]]
    )


def joined_html(first: str, second: str) -> str | None:
    """Both tables as one, the second without the header that it repeats; None where their columns differ."""
    soups = [BeautifulSoup(html, "html.parser") for html in (first, second)]
    above, below = (soup.find_all("tr") for soup in soups)
    if not above or not below:
        return None
    header = _same_rows(above, below)
    if _columns(above) != _columns(below) and not _alike(above[-1], below, header):
        return None
    for row in below[header:]:
        parent = above[-1].parent
        assert parent is not None
        parent.append(row.extract())
    return str(soups[0])


def _same_rows(above: Sequence[Tag], below: Sequence[Tag]) -> int:
    """Rows with which both begin; the last row of `below` is none of them."""
    same = 0
    for one, other in zip(above[:MAX_HEADER_ROWS], below[:-1], strict=False):
        if [(_text(cell), _span(cell, "colspan")) for cell in _cells(one)] != [
            (_text(cell), _span(cell, "colspan")) for cell in _cells(other)
        ]:
            break
        same += 1
    return same


def _alike(last: Tag, below: Sequence[Tag], header: int) -> bool:
    """Whether the rows that would meet have as many columns, or as many cells."""
    first = below[header]
    spans = [sum(_span(cell, "colspan") for cell in _cells(row)) for row in (last, first)]
    return spans[0] == spans[1] or len(_cells(last)) == len(_cells(first))


def _columns(rows: Sequence[Tag]) -> int:
    """Columns of a table, merged cells counted by what they cover."""
    free_from: list[int] = []  # by column, the first row that no cell covers
    for place, row in enumerate(rows):
        column = 0
        for cell in _cells(row):
            while column < len(free_from) and free_from[column] > place:
                column += 1
            if column >= MAX_COLUMNS:
                return MAX_COLUMNS
            wide, below = _span(cell, "colspan"), place + _span(cell, "rowspan")
            free_from += [0] * (column + wide - len(free_from))
            for covered in range(column, column + wide):
                free_from[covered] = max(free_from[covered], below)
            column += wide
    return len(free_from)


def _cells(row: Tag) -> list[Tag]:
    return [one for one in row.descendants if isinstance(one, Tag) and one.name in ("td", "th")]


def _span(cell: Tag, name: str) -> int:
    value = str(cell.get(name, "1"))
    return max(1, min(1000, int(value))) if value.isdecimal() else 1  # 1000: HTML's limit of colspan


def _text(cell: Tag) -> str:
    return "".join(cell.get_text().translate(_FULL_WIDTH).split())
