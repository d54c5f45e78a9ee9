import pytest

from layout.options import Shape
from layout.polygons import iou, overlap, shaped, smallest_rectangle
from models.detection import Box, Polygon

SQUARE = ((0, 0), (10, 0), (10, 10), (0, 10))


@pytest.mark.parametrize(
    ("other", "share"),
    [
        (SQUARE, 1.0),
        (((5, 0), (15, 0), (15, 10), (5, 10)), 0.5),  # beside it
        (((10, 0), (20, 0), (20, 10), (10, 10)), 0.0),  # only an edge in common
        (((2, 2), (4, 2), (4, 4), (2, 4)), 1.0),  # inside
        (((0, 0), (10, 0), (0, 10)), 1.0),  # half of it
        (((0, 10), (10, 20), (20, 10), (10, 0)), 0.5),  # a rhombus whose edge is a diagonal
        (((-5, 4), (15, 4), (15, 6), (-5, 6)), 0.5),  # a bar through it
    ],
)
def test_the_share_of_the_smaller_polygon_is_exact(other: Polygon, share: float) -> None:
    assert overlap(SQUARE, other) == pytest.approx(share)
    assert overlap(other, SQUARE) == pytest.approx(share)


def test_a_notch_does_not_count_as_inside() -> None:
    hook = ((0, 0), (30, 0), (30, 10), (10, 10), (10, 30), (0, 30))
    assert overlap(hook, ((10, 10), (30, 10), (30, 30), (10, 30))) == 0
    assert overlap(hook, ((0, 0), (30, 0), (30, 30), (0, 30))) == pytest.approx(1)


def test_edges_may_cross() -> None:
    assert overlap(((0, 0), (10, 10), (10, 0), (0, 10)), SQUARE) == pytest.approx(1)


def test_heights_that_differ_by_rounding_alone_do_no_harm() -> None:
    """Bug: the middle between two such heights was one of them, where an edge had ended and the next not begun."""
    almost = 30.000000000000004
    cut = ((58, 1), (61, 2), (100, 80), (40, 110), (0, 30))
    assert overlap(cut, ((0, almost), (60, 0), (100, 80), (40, 110))) == pytest.approx(1, abs=0.01)


def test_a_line_has_no_overlap() -> None:
    assert overlap(((0, 5), (10, 5), (5, 5)), SQUARE) == 0


def test_intersection_over_union_is_exact() -> None:
    assert iou(SQUARE, ((5, 0), (15, 0), (15, 10), (5, 10))) == pytest.approx(1 / 3)
    assert iou(SQUARE, SQUARE) == pytest.approx(1)


@pytest.mark.parametrize(
    ("polygon", "rectangle"),
    [
        (SQUARE, SQUARE),
        (((5, 0), (10, 5), (5, 10), (0, 5)), ((5, 0), (10, 5), (5, 10), (0, 5))),
        (((0, 0), (10, 0), (10, 4), (6, 4), (6, 10), (0, 10)), SQUARE),
        (((0, 0), (20, 0), (19, 1), (0, 1)), ((0, 0), (20, 0), (20, 1), (0, 1))),
    ],
)
def test_the_smallest_rectangle_may_be_slanted(polygon: Polygon, rectangle: Polygon) -> None:
    assert smallest_rectangle(polygon) == tuple(pytest.approx(corner) for corner in rectangle)


def test_corners_on_one_line_have_a_rectangle_without_area() -> None:
    assert iou(smallest_rectangle(((0, 0), (5, 5), (10, 10), (2, 2))), SQUARE) == 0
    assert smallest_rectangle(((3, 3),) * 4) == ((3, 3),) * 4


BOX = Box(0, 0, 100, 100)
WHOLE = ((0, 0), (100, 0), (100, 100), (0, 100))
SLANTED = ((0, 30), (60, 0), (100, 80), (40, 110))
CUT = ((0, 30), (58, 1), (61, 2), (100, 80), (40, 110))
HOOK = ((0, 0), (100, 0), (100, 20), (20, 20), (20, 100), (0, 100))


@pytest.mark.parametrize(
    ("shape", "polygon", "expected"),
    [
        ("poly", HOOK, HOOK),
        ("poly", ((0, 0), (9, 0), (0, 9)), WHOLE),  # fewer than four corners
        ("quad", HOOK, WHOLE),
        ("quad", CUT, SLANTED),
        ("auto", ((1, 1), (100, 0), (99, 99), (0, 100)), WHOLE),
        ("auto", CUT, SLANTED),
        ("auto", ((0, 0), (70, 0), (0, 70), (35, 90)), ((0, 0), (70, 0), (0, 70), (35, 90))),
        ("rect", HOOK, None),
    ],
)
def test_an_outline_has_the_shape_that_is_wanted(shape: Shape, polygon: Polygon, expected: Polygon | None) -> None:
    result = shaped(BOX, polygon, shape, None)
    if result is None or expected is None:
        assert result is expected
    else:
        assert [pytest.approx(corner, abs=1.5) for corner in expected] == list(result)


def test_an_outline_is_kept_where_its_box_meets_that_of_the_block_before() -> None:
    apart, meeting = ((110, 0), (190, 0), (190, 90), (110, 90)), ((50, 50), (190, 50), (190, 90), (50, 90))
    assert shaped(BOX, CUT, "auto", apart) != CUT
    assert shaped(BOX, CUT, "auto", meeting) == CUT
