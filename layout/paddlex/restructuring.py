"""Pages of one document put together: tables that go on, levels of headings, one page of all blocks.

Equal to `restructure_pages` of PaddleX 3.7 but for what `tables` and `titles` name.
"""

from collections.abc import Sequence

from layout.paddlex.parsed import ParsedBlock
from layout.paddlex.tables import join_tables
from layout.paddlex.titles import set_levels


def restructure(pages: Sequence[Sequence[ParsedBlock]], *, merge_tables: bool, relevel_titles: bool) -> None:
    """Give all blocks global ids, join tables over pages and level headings, in place."""
    for place, block in enumerate(block for page in pages for block in page):
        block.global_block_id = block.global_group_id = place
    if merge_tables:
        join_tables(pages)
    if relevel_titles:
        set_levels(pages)
