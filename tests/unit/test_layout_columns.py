import pytest

from layout.columns import columns
from models.detection import Box

GLYPH = 10


def lines(left: int, right: int, top: int, count: int) -> list[Box]:
    return [Box(left, top + 24 * place, right, top + 24 * place + 12) for place in range(count)]


def test_lines_of_one_column_stay_together() -> None:
    assert columns(lines(50, 500, 100, 5), GLYPH) == [[0, 1, 2, 3, 4]]


def test_the_left_column_comes_before_the_right_one() -> None:
    boxes = lines(450, 800, 100, 3) + lines(50, 400, 100, 3)
    assert columns(boxes, GLYPH) == [[3, 4, 5], [0, 1, 2]]


def test_a_title_across_columns_comes_first() -> None:
    boxes = [Box(100, 40, 700, 70), *lines(50, 400, 100, 3), *lines(450, 800, 100, 3)]
    assert columns(boxes, GLYPH) == [[0], [1, 2, 3], [4, 5, 6]]


def test_columns_go_on_over_white_that_runs_across() -> None:
    boxes = lines(50, 400, 100, 3) + lines(50, 400, 300, 3) + lines(450, 800, 100, 3) + lines(450, 800, 300, 3)
    assert columns(boxes, GLYPH) == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


def test_columns_end_where_a_line_goes_across_them() -> None:
    upper = lines(50, 400, 100, 3) + lines(450, 800, 100, 3)
    lower = lines(50, 400, 300, 3) + lines(450, 800, 300, 3)
    assert columns([*upper, Box(50, 250, 800, 270), *lower], GLYPH) == [
        *([0, 1, 2], [3, 4, 5]),
        *([6], [7, 8, 9], [10, 11, 12]),
    ]


def test_three_columns_are_read_one_after_another() -> None:
    boxes = lines(50, 250, 100, 4) + lines(290, 490, 100, 4) + lines(530, 730, 100, 2)
    assert columns(boxes, GLYPH) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_column_of_a_column_is_cut_again() -> None:
    left, right = lines(50, 300, 100, 8), [Box(400, 100, 900, 112), *lines(400, 630, 140, 6), *lines(670, 900, 140, 6)]
    assert [len(column) for column in columns(left + right, GLYPH)] == [8, 1, 6, 6]


def test_bullets_belong_to_their_items() -> None:
    bullets, items = lines(50, 56, 100, 4), lines(90, 500, 100, 4)
    assert columns(bullets + items, GLYPH) == [[0, 4, 1, 5, 2, 6, 3, 7]]


@pytest.mark.parametrize("count", [2, 4])
def test_cells_of_a_table_are_read_row_by_row(count: int) -> None:
    boxes = [
        Box(left, top, left + 60, top + 12) for top in range(100, 220, 24) for left in range(50, 50 + 180 * count, 180)
    ]
    assert columns(boxes, GLYPH) == [list(range(len(boxes)))]


def test_a_page_without_boxes_has_no_columns() -> None:
    assert columns([], GLYPH) == []
