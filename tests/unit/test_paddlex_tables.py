"""Tables and titles over pages where `layout/paddlex/` differs from PaddleX on purpose."""

import time

import pytest

from layout.paddlex import tables
from layout.paddlex.parsed import ParsedBlock
from layout.paddlex.restructuring import restructure
from layout.paddlex.tables import joined_html
from layout.paddlex.titles import group_heights

FIRST = "<table><tr><td>Name</td><td>Price</td></tr><tr><td>Tea</td><td>1</td></tr></table>"
SECOND = "<table><tr><td>Name</td><td>Price</td></tr><tr><td>Milk</td><td>2</td></tr></table>"
BOTH = FIRST.removesuffix("</table>") + "<tr><td>Milk</td><td>2</td></tr></table>"


def block(label: str, content: str) -> ParsedBlock:
    return ParsedBlock(label=label, bbox=[0, 0, 100, 20], content=content)


def test_a_title_that_says_continued_does_not_part_a_table() -> None:
    """Bug of PaddleX: it looks for the word in attributes that blocks do not have."""
    pages = [[block("table", FIRST)], [block("figure_title", "Table 1 (continued)"), block("table", SECOND)]]
    restructure(pages, merge_tables=True, relevel_titles=False)
    assert pages[0][0].content == BOTH
    assert (pages[1][1].content, pages[1][1].global_group_id) == ("", 0)


def test_a_row_that_is_the_same_on_both_pages_is_kept() -> None:
    """Bug of PaddleX: a table of which all rows repeat those above it is taken for a header and lost."""
    row = "<table><tr><td>Tea</td><td>1</td></tr></table>"
    assert joined_html(row, row) == "<table><tr><td>Tea</td><td>1</td></tr><tr><td>Tea</td><td>1</td></tr></table>"


def test_a_span_that_is_no_number_counts_as_one() -> None:
    """Bug of PaddleX: the document fails as a whole."""
    odd = '<table><tr><td colspan="wide">Tea</td><td>1</td></tr></table>'
    assert joined_html(FIRST, odd) is not None


def test_cells_that_span_a_thousand_rows_and_columns_are_counted_at_once() -> None:
    """Bug: every place that they cover was noted, millions for each cell."""
    huge = "<td colspan='1000' rowspan='1000'>x</td>"
    rows = "<tr><td>1</td></tr>" * 1000
    began = time.process_time()
    assert joined_html(f"<table><tr>{huge * 30}</tr>{rows}</table>", FIRST) is None
    assert time.process_time() - began < 3


def test_very_long_tables_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_PARSED", len(FIRST) + len(SECOND) - 1)
    pages = [[block("table", FIRST)], [block("table", SECOND)]]
    restructure(pages, merge_tables=True, relevel_titles=False)
    assert [page[0].content for page in pages] == [FIRST, SECOND]
    assert pages[1][0].global_group_id == 1


def test_thousands_of_heights_are_grouped_at_once() -> None:
    """Bug: the time grew with the cube of how many heights differ."""
    began = time.process_time()
    levels = group_heights(range(1000, 5000))
    assert (levels[4999], levels[1000]) == (1, 4)
    assert time.process_time() - began < 3
