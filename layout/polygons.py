"""Outlines of blocks: the area that two share, exact but for rounding, and the simplest shape that fits one.

Knows corners and boxes, and nothing of pages, labels or images. Shapes are those of PaddleX 3.7
(inference/models/layout_analysis/processors.py), where OpenCV finds the smallest rectangle.

A page is cut into bands at the height of each corner and of each crossing of edges. Within a band no edges cross, so
that what is inside is a row of trapezoids, each as wide in the mean as at the middle of the band. Crossed outlines
count as inside wherever a ray from outside crosses them an odd number of times.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import atan2, hypot
from typing import TypeAlias

from layout.options import Shape
from models.detection import Box, Polygon

Edge: TypeAlias = tuple[float, float, float, float]  # x and y of the upper end, then of the lower
Spans: TypeAlias = list[tuple[float, float]]  # left and right ends of what is inside, at one height

BOX_IOU = 0.95  # a slanted rectangle that is as much like the box is the box
QUAD_IOU = 0.8  # an outline as much like the slanted rectangle is that
APART = 0.01  # a box shares less of the outline before it, or its own outline is needed


def shaped(box: Box, polygon: Polygon, shape: Shape, before: Polygon | None) -> Polygon | None:
    """The outline that a block gets; None for "rect". `before`: that of the block before it."""
    rectangle = _rectangle(box)
    if shape == "rect":
        return None
    if len(polygon) < 4:
        return rectangle
    if shape == "poly":
        return polygon
    quad = smallest_rectangle(polygon)
    if shape == "quad":
        return quad
    if iou(rectangle, quad) >= BOX_IOU:
        return rectangle
    fits = iou(polygon, quad) >= QUAD_IOU and (before is None or overlap(before, rectangle) < APART)
    return quad if fits else polygon


def _rectangle(box: Box) -> Polygon:
    left, top, right, bottom = map(int, box)
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def smallest_rectangle(polygon: Polygon) -> Polygon:
    """The smallest rectangle around a polygon, its corners clockwise from the top left one; one side lies on a hull's.

    A polygon whose corners lie on one line has a rectangle without area.
    """
    hull = _hull(polygon)
    best: tuple[float, Polygon] | None = None
    for (x, y), (next_x, next_y) in zip(hull, (*hull[1:], hull[0]), strict=True):
        length = hypot(next_x - x, next_y - y)
        if length == 0:
            continue
        dx, dy = (next_x - x) / length, (next_y - y) / length
        along = [dx * at + dy * to for at, to in hull]
        across = [dx * to - dy * at for at, to in hull]
        area = (max(along) - min(along)) * (max(across) - min(across))
        if best is None or area < best[0] - 1e-9:
            ends = [(u, v) for u in (min(along), max(along)) for v in (min(across), max(across))]
            best = area, tuple((dx * u - dy * v, dy * u + dx * v) for u, v in ends)
    return _clockwise(best[1]) if best else (hull[0],) * 4


def _clockwise(corners: Polygon) -> Polygon:
    x, y = (sum(corner[axis] for corner in corners) / len(corners) for axis in (0, 1))
    around = sorted(corners, key=lambda corner: atan2(corner[1] - y, corner[0] - x))
    first = min(range(len(around)), key=lambda place: sum(around[place]))
    return (*around[first:], *around[:first])


def _hull(polygon: Polygon) -> Polygon:
    """The convex hull, without corners on straight sides."""
    points = sorted(set(polygon))
    if len(points) < 3:
        return tuple(points)
    return tuple(_half_hull(points)[:-1] + _half_hull(points[::-1])[:-1])


def _half_hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    hull: list[tuple[float, float]] = []
    for x, y in points:
        while len(hull) > 1:
            (first_x, first_y), (last_x, last_y) = hull[-2:]
            if (last_x - first_x) * (y - first_y) > (last_y - first_y) * (x - first_x):
                break
            hull.pop()
        hull.append((x, y))
    return hull


def iou(one: Polygon, other: Polygon) -> float:
    """Intersection over union, 0 to 1; 0 where both have no area."""
    first, second, shared = _areas(one, other)
    union = first + second - shared
    return shared / union if union > 0 else 0.0


def overlap(one: Polygon, other: Polygon) -> float:
    """Intersection over the smaller of both areas, 0 to 1; 0 where one has no area."""
    if not _boxes_meet(one, other):
        return 0.0
    first, second, shared = _areas(one, other)
    return shared / min(first, second) if min(first, second) > 0 else 0.0


def _boxes_meet(one: Polygon, other: Polygon) -> bool:
    return all(
        min(max(corner[axis] for corner in polygon) for polygon in (one, other))
        > max(min(corner[axis] for corner in polygon) for polygon in (one, other))
        for axis in (0, 1)
    )


def _areas(one: Polygon, other: Polygon) -> tuple[float, float, float]:
    """Area of each, and the area that both share."""
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
    return areas[0], areas[1], shared


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
    ends = sorted(_x(edge, y) for edge in edges if edge[1] <= y < edge[3])  # always an even number
    return list(zip(ends[::2], ends[1::2], strict=True))


def _x(edge: Edge, y: float) -> float:
    upper_x, upper_y, lower_x, lower_y = edge
    return upper_x + (lower_x - upper_x) * (y - upper_y) / (lower_y - upper_y)
