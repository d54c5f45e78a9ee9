"""Tables over pages where `layout/paddlex/` differs from PaddleX on purpose."""

from layout.paddlex.parsed import ParsedBlock
from layout.paddlex.restructuring import restructure
from layout.paddlex.tables import joined_html

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
