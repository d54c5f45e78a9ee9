import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modes.tables import MAX_COLUMNS, Cell, Table, TableFinisher, TableFormat, parse

PROPERTY = settings(max_examples=100, deadline=None, derandomize=True, database=None)
TAGS = ["<fcel>", "<ecel>", "<lcel>", "<ucel>", "<xcel>", "<nl>"]
SOUPS = st.lists(st.sampled_from([*TAGS, "<fcel>x", "<ucel>", "<lcel>", "<nl>", "y", "\n"]), max_size=30).map("".join)

MERGED = "<fcel>Year<fcel>Sales<lcel><nl><ucel><fcel>net<fcel>gross<nl><fcel>2018<fcel>1<fcel>2<nl>"
REGULAR = "<fcel>Item<fcel>Price<nl><fcel>Tea<fcel>2.50<nl><fcel>Cake<ecel><nl>"


def whole(table_format: TableFormat, raw: str) -> str:
    finisher = TableFinisher(table_format, streaming=False)
    assert finisher.push(raw) == ""
    return finisher.end()


def streamed(table_format: TableFormat, raw: str) -> list[str]:
    """The pieces sent after each row, then at the end."""
    finisher = TableFinisher(table_format, streaming=True)
    rows = re.split(r"(?<=<nl>)", raw)
    return [*map(finisher.push, rows[:-1]), finisher.push(rows[-1]) + finisher.end()]


def covered(table: Table) -> list[tuple[int, int]]:
    """Every place, once for each cell that covers it."""
    return [
        (row + down, cell.column + right)
        for row, cells in enumerate(table.rows)
        for cell in cells
        for down in range(cell.rowspan)
        for right in range(cell.colspan)
    ]


class Browser(HTMLParser):
    """Lays a table out as HTML prescribes: a cell goes to the first place of its row that no cell above covers."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.row = -1
        self.owners: dict[tuple[int, int], tuple[int, int]] = {}
        self.overlaps = 0
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            return
        self.open.append(tag)
        if tag == "tr":
            self.row += 1
        if tag == "td":
            self._place({name: int(value or 1) for name, value in attrs})

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def _place(self, spans: dict[str, int]) -> None:
        column = next(c for c in range(1000) if (self.row, c) not in self.owners)
        for row in range(self.row, self.row + spans.get("rowspan", 1)):
            for other in range(column, column + spans.get("colspan", 1)):
                self.overlaps += (row, other) in self.owners
                self.owners[row, other] = (self.row, column)


def pipes(line: str) -> int:
    return len(re.findall(r"(?<!\\)\|", line))


def test_cells_merge_left_and_up() -> None:
    assert parse(MERGED).rows == [
        [Cell("Year", 0, rowspan=2), Cell("Sales", 1, colspan=2)],
        [Cell("net", 1), Cell("gross", 2)],
        [Cell("2018", 0), Cell("1", 1), Cell("2", 2)],
    ]


def test_a_cell_merges_over_rows_and_columns() -> None:
    assert parse("<fcel>a<lcel><fcel>b<nl><ucel><xcel><fcel>c<nl>").rows == [
        [Cell("a", 0, rowspan=2, colspan=2), Cell("b", 2)],
        [Cell("c", 2)],
    ]


@pytest.mark.parametrize(
    "otsl",
    [
        "<lcel><fcel>b<nl>",  # nothing on the left
        "<ucel><fcel>b<nl>",  # nothing above
        "<xcel><fcel>b<nl>",
        "<nl><ucel><fcel>b<nl>",
    ],
)
def test_a_merge_into_nothing_is_an_empty_cell(otsl: str) -> None:
    assert parse(otsl).rows == [[Cell("", 0), Cell("b", 1)]]


@pytest.mark.parametrize(
    ("below", "cells"),
    [
        ("<ucel><fcel>b", [Cell("", 0), Cell("b", 1)]),  # half of the cell above
        ("<fcel>b<ucel>", [Cell("b", 0), Cell("", 1)]),
        ("<fcel>b<xcel>", [Cell("b", 0), Cell("", 1)]),
    ],
)
def test_a_merge_that_leaves_no_rectangle_is_an_empty_cell(below: str, cells: list[Cell]) -> None:
    assert parse(f"<fcel>a<lcel><nl>{below}<nl>").rows == [[Cell("a", 0, colspan=2)], cells]


def test_text_in_a_merged_place_makes_it_a_cell() -> None:
    assert parse("<fcel>a<lcel>b<nl>").rows == [[Cell("a", 0), Cell("b", 1)]]


@pytest.mark.parametrize("otsl", ["<fcel>a<nl><fcel>b<fcel>c<nl>", "<fcel>a<ecel><nl><fcel>b<fcel>c<nl>"])
def test_short_rows_are_padded_to_the_widest(otsl: str) -> None:
    assert parse(otsl).rows == [[Cell("a", 0), Cell("", 1)], [Cell("b", 0), Cell("c", 1)]]


def test_a_place_that_the_row_above_lacks_cannot_be_merged() -> None:
    assert parse("<fcel>a<nl><fcel>b<ucel><nl>").rows == [[Cell("a", 0), Cell("", 1)], [Cell("b", 0), Cell("", 1)]]


@pytest.mark.parametrize("cut", ["", "<", "<n", "<nl", "<nl>", "<nl><", "<nl><fce", "<nl><nl>"])
def test_a_table_that_breaks_off_has_all_its_cells(cut: str) -> None:
    assert parse(f"<fcel>a<fcel>b{cut}").rows == [[Cell("a", 0), Cell("b", 1)]]


def test_an_endless_row_is_joined_at_the_maximum_width() -> None:
    table = parse("<fcel>a<nl>" * 3 + "<fcel>b" * (MAX_COLUMNS + 2) + "<nl>")
    assert table.width == MAX_COLUMNS
    assert table.rows[3][-1].text == "b b b"


@PROPERTY
@given(SOUPS)
def test_any_soup_of_tags_covers_every_place_once(soup: str) -> None:
    table = parse(soup)
    assert sorted(covered(table)) == [(r, c) for r in range(len(table.rows)) for c in range(table.width)]


@PROPERTY
@given(SOUPS)
def test_a_browser_shows_the_cells_where_they_are(soup: str) -> None:
    table = parse(soup)
    browser = Browser("\n".join(["<table>", *table.html_lines(), "</table>"]))
    assert browser.overlaps == 0
    assert sorted(browser.owners) == sorted(covered(table))
    starts = {(row, cell.column) for row, cells in enumerate(table.rows) for cell in cells}
    assert set(browser.owners.values()) == starts


@PROPERTY
@given(SOUPS)
def test_streamed_html_is_well_formed(soup: str) -> None:
    browser = Browser("".join(streamed("html", soup)))
    assert browser.open == []
    assert browser.overlaps == 0


@PROPERTY
@given(SOUPS)
@pytest.mark.parametrize("table_format", ["auto", "markdown", "html"])
def test_no_text_is_lost(table_format: TableFormat, soup: str) -> None:
    for text in (whole(table_format, soup), "".join(streamed(table_format, soup))):
        assert (text.count("x"), text.count("y")) == (soup.count("<fcel>x"), soup.count("y"))


@PROPERTY
@given(SOUPS, st.booleans())
def test_every_line_of_a_markdown_table_has_the_pipes_of_its_header(soup: str, streaming: bool) -> None:
    text = "".join(streamed("markdown", soup)) if streaming else whole("markdown", soup)
    tables = [block.split("\n") for block in text.split("\n\n") if block.startswith("|")]
    assert bool(tables) == bool(parse(soup).rows)
    for table in tables:
        assert {pipes(line) for line in table} == {pipes(table[1])}
        assert set(table[1]) == set("| -")


def test_markdown_has_its_header_first() -> None:
    assert whole("markdown", REGULAR) == "| Item | Price |\n| --- | --- |\n| Tea | 2.50 |\n| Cake |  |"


def test_markdown_leaves_merged_places_empty() -> None:
    assert whole("markdown", MERGED) == (
        "| Year | Sales |  |\n| --- | --- | --- |\n|  | net | gross |\n| 2018 | 1 | 2 |"
    )


def test_html_has_one_row_a_line() -> None:
    assert whole("html", MERGED) == (
        '<table>\n<tr><td rowspan="2">Year</td><td colspan="2">Sales</td></tr>\n'
        "<tr><td>net</td><td>gross</td></tr>\n"
        "<tr><td>2018</td><td>1</td><td>2</td></tr>\n</table>"
    )


def test_a_whole_table_of_html_has_its_short_rows_padded() -> None:
    assert whole("html", "<fcel>a<nl><fcel>b<fcel>c<nl>") == whole("html", "<fcel>a<ecel><nl><fcel>b<fcel>c<nl>")


@pytest.mark.parametrize(
    ("text", "markdown", "html"),
    [
        ("a|b", r"a\|b", "a|b"),
        (r"\|x\|", r"\\|x\\|", r"\|x\|"),  # Markdown removes one backslash before a pipe
        ("one\n\n two\r\nthree", "one<br>two<br>three", "one<br>two<br>three"),
        ("1 < 2 & 3", "1 < 2 & 3", "1 &lt; 2 &amp; 3"),
    ],
)
def test_text_that_would_break_a_cell_is_escaped(text: str, markdown: str, html: str) -> None:
    assert whole("markdown", f"<fcel>{text}<nl>") == f"| {markdown} |\n| --- |"
    assert whole("html", f"<fcel>{text}<nl>") == f"<table>\n<tr><td>{html}</td></tr>\n</table>"


@pytest.mark.parametrize(
    ("raw", "other"),
    [(REGULAR, "markdown"), (MERGED, "html"), ("<fcel>a<fcel>b<nl><ucel><fcel>c<nl>", "html")],
)
def test_auto_is_markdown_without_merged_cells(raw: str, other: TableFormat) -> None:
    assert whole("auto", raw) == whole(other, raw)


@pytest.mark.parametrize("streaming", [False, True])
def test_otsl_is_left_unchanged(streaming: bool) -> None:
    finisher = TableFinisher("otsl", streaming=streaming)
    assert finisher.push(f"a {MERGED} b <fce") + finisher.end() == f"a {MERGED} b <fce"


def test_streamed_otsl_holds_back_no_more_than_half_a_tag() -> None:
    finisher = TableFinisher("otsl", streaming=True)
    assert finisher.push("<fcel>a <nl") == "<fcel>a "


def test_rows_of_markdown_are_streamed_as_they_end() -> None:
    assert streamed("markdown", REGULAR) == [
        "| Item | Price |\n| --- | --- |",
        "\n| Tea | 2.50 |",
        "\n| Cake |  |",
        "",
    ]


def test_a_row_of_html_is_streamed_once_the_next_does_not_merge_into_it() -> None:
    assert streamed("html", "<fcel>a<fcel>b<nl><ucel><fcel>c<nl><fcel>d<fcel>e<nl>") == [
        "",
        "",
        '<table>\n<tr><td rowspan="2">a</td><td>b</td></tr>\n<tr><td>c</td></tr>',
        "\n<tr><td>d</td><td>e</td></tr>\n</table>",
    ]


@pytest.mark.parametrize("raw", [MERGED, REGULAR])
@pytest.mark.parametrize("table_format", ["auto", "markdown", "html"])
def test_a_streamed_table_equals_that_of_the_whole_answer(raw: str, table_format: TableFormat) -> None:
    assert "".join(streamed(table_format, raw)) == whole(table_format, raw)


def test_streamed_auto_stays_markdown_once_begun() -> None:
    raw = "<fcel>a<fcel>b<nl><fcel>c<lcel><nl>"
    assert "".join(streamed("auto", raw)) == "| a | b |\n| --- | --- |\n| c |  |"


def test_streamed_markdown_loses_no_text_of_a_row_longer_than_the_header() -> None:
    raw = "<fcel>a<fcel>b<nl><fcel>1<fcel>2<ecel><fcel>3<nl><fcel>4<nl>"
    assert "".join(streamed("markdown", raw)) == "| a | b |\n| --- | --- |\n| 1 | 2 3 |\n| 4 |  |"


@pytest.mark.parametrize("table_format", ["auto", "markdown", "html", "otsl"])
@pytest.mark.parametrize("text", ["", " \n", "No table.", " 1 < 2, <b> and <n", "two\n\n lines \n"])
@pytest.mark.parametrize("streaming", [False, True])
def test_text_without_a_table_is_left_unchanged(table_format: TableFormat, text: str, streaming: bool) -> None:
    finisher = TableFinisher(table_format, streaming=streaming)
    assert finisher.push(text) + finisher.end() == text


@pytest.mark.parametrize("space", ["", " ", "\n", "\n\n\n"])
def test_text_and_tables_are_set_apart(space: str) -> None:
    one, other = "<fcel>a<nl><fcel>b<nl>", "<fcel>c<nl>"
    raw = f"Before{space}{one}{space}between {space}them{space}{other}{space}after.{space}"
    assert "".join(streamed("markdown", raw)) == (
        f"Before\n\n| a |\n| --- |\n| b |\n\nbetween {space}them\n\n| c |\n| --- |\n\nafter.{space}"
    )


def test_text_is_streamed_as_it_comes() -> None:
    finisher = TableFinisher("markdown", streaming=True)
    assert [finisher.push(piece) for piece in ("So ", "far", " <", "3 <fc")] == ["So", " far", "", " <3"]


def test_the_end_of_a_row_without_a_table_is_the_end_of_a_line() -> None:
    assert whole("markdown", "one<nl>two") == "one\ntwo"
