"""Tables and charts of a document."""

import pytest

from layout.markdown import grids
from modes.tables import TableFormat

BOX = (800.0, 100.0)
PLAIN = "<fcel>A<fcel>B<nl><fcel>1<fcel>2<nl>"
MERGED = "<fcel>A<lcel><nl><fcel>1<fcel>2<nl>"


def table(raw: str, table_format: TableFormat = "auto") -> str:
    return grids.table(raw, table_format, {}, BOX)


def test_a_table_becomes_a_pipe_table() -> None:
    assert table(PLAIN) == "| A | B |\n| --- | --- |\n| 1 | 2 |"


def test_a_table_with_merged_cells_becomes_html() -> None:
    assert table(MERGED) == '<table>\n<tr><td colspan="2">A</td></tr>\n<tr><td>1</td><td>2</td></tr>\n</table>'


def test_merged_cells_in_the_last_row_count() -> None:
    assert "<table>" in table("<fcel>1<fcel>2<nl><fcel>A<lcel><nl>")


@pytest.mark.parametrize(("table_format", "start"), [("html", "<table>"), ("markdown", "| A"), ("otsl", "```\n<fcel>")])
def test_the_format_of_tables_can_be_chosen(table_format: TableFormat, start: str) -> None:
    assert table(PLAIN, table_format).startswith(start)


def test_formulas_in_cells_get_dollars() -> None:
    assert table(r"<fcel>\( x_1 \)<fcel>*b*<nl>").splitlines()[0] == r"| $x_1$ | \*b* |"


def test_cells_of_html_have_no_backslashes() -> None:
    assert table("<fcel>*b*<nl>", "html").splitlines()[1] == "<tr><td>*b*</td></tr>"


def test_text_around_a_table_stays_around_it() -> None:
    assert table(f"Before.\n{PLAIN}After.") == f"Before.\n\n{table(PLAIN)}\n\nAfter."


def test_a_table_that_the_model_read_as_text_is_text() -> None:
    assert table("No table.") == "No table."


def test_tokens_of_figures_become_the_figures() -> None:
    assert grids.table("<fcel>[F2]<nl>", "auto", {"[F2]": "![figure](a.png)"}, BOX).startswith("| ![figure](a.png) |")


def test_a_chart_becomes_a_table() -> None:
    assert grids.chart("Year | Sum\n1 | 2") == "| Year | Sum |\n| --- | --- |\n| 1 | 2 |"


@pytest.mark.parametrize("header", ["<fcel>A<fcel>B<nl>", "<fcel>a<fcel> b<nl>", ""])
def test_rows_of_a_second_table_are_joined_without_its_repeated_header(header: str) -> None:
    assert grids.joined(PLAIN, f"{header}<fcel>3<fcel>4<nl>") == f"{PLAIN}<fcel>3<fcel>4<nl>"


def test_a_table_that_was_cut_off_within_a_row_is_joined_row_by_row() -> None:
    assert grids.joined(PLAIN.removesuffix("<nl>"), "<fcel>3<fcel>4<nl>") == f"{PLAIN}<fcel>3<fcel>4<nl>"


@pytest.mark.parametrize("other", ["<fcel>3<nl>", "text", "<fcel>3<fcel>4<fcel>5<nl>"])
def test_tables_with_other_columns_are_not_joined(other: str) -> None:
    assert grids.joined(PLAIN, other) is None
