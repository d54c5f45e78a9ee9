"""The area that polygons share, exact but for rounding. Knows corners and nothing of pages, labels or images.

A page is cut into bands at the height of each corner and of each crossing of edges. Within a band no edges cross, so
that what is inside is a row of trapezoids, each as wide in the mean as at the middle of the band. Crossed outlines
count as inside wherever a ray from outside crosses them an odd number of times.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import TypeAlias

from models.detection import Polygon

Edge: TypeAlias = tuple[float, float, float, float]  # x and y of the upper end, then of the lower
Spans: TypeAlias = list[tuple[float, float]]  # left and right ends of what is inside, at one height


def overlap(one: Polygon, other: Polygon) -> float:
    """Intersection over the smaller of both areas, 0 to 1; 0 where one has no area."""
    first, second = list(_edges(one)), list(_edges(other))
    areas, shared = [0.0, 0.0], 0.0
    for top, bottom in pairwise(_heights(first + second)):
        middle, high = (top + bottom) / 2, bottom - top
        spans = [_spans(edges, middle) for edges in (first, second)]
        areas = [area + high * sum(right - left for left, right in row) for area, row in zip(areas, spans, strict=True)]
        shared += high * sum(
            max(0.0, min(right, other_right) - max(left, other_left))
            for left, right in spans[0]
            for other_left, other_right in spans[1]
        )
    return shared / min(areas) if min(areas) > 0 else 0.0


def _edges(polygon: Polygon) -> Iterator[Edge]:
    """The edges that are not level; those that are bound no trapezoid at the side."""
    for (x, y), (next_x, next_y) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if y != next_y:
            yield (x, y, next_x, next_y) if y < next_y else (next_x, next_y, x, y)


def _heights(edges: list[Edge]) -> list[float]:
    ends = {y for edge in edges for y in (edge[1], edge[3])}
    crossings = {y for i, edge in enumerate(edges) for other in edges[:i] for y in _crossing(edge, other)}
    return sorted(ends | crossings)


def _crossing(edge: Edge, other: Edge) -> Iterator[float]:
    """The height at which two edges cross, if they do within both."""
    top, bottom = max(edge[1], other[1]), min(edge[3], other[3])
    if top >= bottom:
        return
    above, below = (_x(edge, y) - _x(other, y) for y in (top, bottom))
    if above * below < 0:
        yield top + (bottom - top) * above / (above - below)


def _spans(edges: list[Edge], y: float) -> Spans:
    ends = sorted(_x(edge, y) for edge in edges if edge[1] < y < edge[3])
    return list(zip(ends[::2], ends[1::2], strict=True))


def _x(edge: Edge, y: float) -> float:
    upper_x, upper_y, lower_x, lower_y = edge
    return upper_x + (lower_x - upper_x) * (y - upper_y) / (lower_y - upper_y)
