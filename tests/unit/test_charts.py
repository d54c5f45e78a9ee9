import pytest

from modes.charts import ChartFinisher


def chart(raw: str) -> str:
    finisher = ChartFinisher()
    return finisher.push(raw) + finisher.end()


@pytest.mark.parametrize(
    "raw",
    [
        "Year | Revenue\n2018 | 104.22\n2019 | 99",
        "| Year | Revenue |\n| 2018 | 104.22 |\n| 2019 | 99 |\n",
        "Year | Revenue\n--- | ---\n2018 | 104.22\n2019 | 99",
        "| Year | Revenue |\n|:---|---:|\n| 2018 | 104.22 |\n\n| 2019 | 99",
        "Year|Revenue\r\n2018|104.22\r\n2019|99\r\n",
    ],
)
def test_a_chart_becomes_a_table(raw: str) -> None:
    assert chart(raw) == "| Year | Revenue |\n| --- | --- |\n| 2018 | 104.22 |\n| 2019 | 99 |"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("1", "1"),  # text ends the table
        ("1 |", "| 1 |  |"),
        ("| 1", "|  | 1 |"),
        ("1 | 2 | 3 | | 4", "| 1 | 2 3 4 |"),
        (r"a \| b | c", r"| a \| b | c |"),
        ("- | -", "| - | - |"),
    ],
)
def test_a_row_of_a_chart_has_the_cells_of_the_header(row: str, expected: str) -> None:
    gap = "\n" if expected.startswith("|") else "\n\n"
    assert chart(f"x | y\n{row}") == f"| x | y |\n| --- | --- |{gap}{expected}"


def test_dashes_below_the_first_row_of_a_chart_are_values() -> None:
    assert chart("x | y\n1 | 2\n--- | ---") == "| x | y |\n| --- | --- |\n| 1 | 2 |\n| --- | --- |"


def test_a_header_that_begins_with_a_pipe_only_has_an_empty_corner() -> None:
    assert chart(" | 2018 | 2019\nTea | 1 | 2") == "|  | 2018 | 2019 |\n| --- | --- | --- |\n| Tea | 1 | 2 |"


def test_rows_of_a_chart_are_streamed_with_their_lines() -> None:
    finisher = ChartFinisher()
    pieces = ["Year | Re", "venue\n20", "18 | 1", "\n"]
    assert [finisher.push(piece) for piece in pieces] == ["", "| Year | Revenue |\n| --- | --- |", "", "\n| 2018 | 1 |"]


def test_text_around_a_chart_is_unchanged() -> None:
    assert chart("Sales\nx | y\n1 | 2\nSource: us\nz | w\n") == (
        "Sales\n\n| x | y |\n| --- | --- |\n| 1 | 2 |\n\nSource: us\n\n| z | w |\n| --- | --- |"
    )


@pytest.mark.parametrize("text", ["", "no chart", "two\n lines \n\n"])
def test_text_without_a_chart_is_left_unchanged(text: str) -> None:
    assert chart(text) == text
