import pytest

from layout.polygons import overlap
from models.detection import Polygon

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


def test_a_line_has_no_overlap() -> None:
    assert overlap(((0, 5), (10, 5), (5, 5)), SQUARE) == 0
