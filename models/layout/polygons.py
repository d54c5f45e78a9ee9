"""Outlines of blocks from V3's masks: the largest spot of each mask as a polygon in pixels of the page.

Knows masks and boxes. Equal to transformers' processor, whose border following, polygon approximation and resize are
OpenCV's: `findContours`, `approxPolyDP` and `INTER_NEAREST`, in its order of points.
"""

import math

import numpy as np

Point = tuple[int, int]

MASK_STRIDE = 4  # pixels of the network's input per point of a mask
TOLERANCE = 0.004  # distance that a polygon may have from the border, over the border's length
SHARP = 45  # degrees; corners this sharp are drawn out
# Neighbours of a pixel as (x, y), counter-clockwise from the right, y downwards.
AROUND = ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))


def outlines(masks: np.ndarray, boxes: np.ndarray, scale: tuple[float, float]) -> list[np.ndarray]:
    """(points, 2) x and y for every mask of (blocks, rows, columns) bool with its box of (blocks, 4) pixels.

    `scale`: pixels of the network's input per pixel of the page, in x and y. A block whose mask is empty or gives less
    than four corners has its box as the polygon.
    """
    return [_outline(mask, box, scale) for mask, box in zip(masks, boxes.astype(np.int32).tolist(), strict=True)]


def _outline(mask: np.ndarray, box: list[int], scale: tuple[float, float]) -> np.ndarray:
    left, top, right, bottom = box
    rectangle = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.float32)
    if right <= left or bottom <= top:
        return rectangle
    first_column, last_column = (round(x * (scale[0] / MASK_STRIDE)) for x in (left, right))
    first_row, last_row = (round(y * (scale[1] / MASK_STRIDE)) for y in (top, bottom))
    part = mask[max(first_row, 0) : max(last_row, 0), max(first_column, 0) : max(last_column, 0)]
    if not part.any():
        return rectangle
    borders = _borders(_stretched(part, bottom - top, right - left))
    if not borders:  # shrinking lost every point; transformers gives None here
        return rectangle
    largest = max(reversed(borders), key=_area)
    corners = _convex_corners(np.array(_simplified(largest, TOLERANCE * _length(largest)), dtype=np.int32))
    return np.array(corners) + np.array([left, top]) if len(corners) >= 4 else rectangle


def _stretched(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width) by the nearest point above and to the left, as OpenCV takes it."""
    rows, columns = (
        np.minimum(np.floor(np.arange(new) * (1 / (new / old))).astype(int), old - 1)
        for new, old in ((height, mask.shape[0]), (width, mask.shape[1]))
    )
    return mask[rows[:, None], columns]


def _borders(mask: np.ndarray) -> list[list[Point]]:
    """The outer border of every spot that lies in no other's hole, from the top down, as the points where it turns."""
    padded = np.pad(mask, 1)
    pixels = padded.tobytes()
    width = padded.shape[1]
    marks = np.zeros(padded.shape, dtype=np.int8)  # 1 on a border, -1 where the spot ends to the right
    borders = []
    for y, x in np.argwhere(padded[:, 1:] & ~padded[:, :-1]).tolist():
        x += 1
        seen = marks[y, :x]
        if marks[y, x] or seen[::-1][(seen[::-1] != 0).argmax()] > 0:  # on a known border, or inside one
            continue
        borders.append(_followed(pixels, width, x, y, marks))
    return borders


def _followed(pixels: bytes, width: int, x: int, y: int, marks: np.ndarray) -> list[Point]:
    """The border from its topmost left pixel, counter-clockwise; written into `marks`. Points without the padding."""
    steps = [dy * width + dx for dx, dy in AROUND]
    start = place = y * width + x
    flat = marks.reshape(-1)
    way = next((way for way in (3, 2, 1, 0, 7, 6, 5) if pixels[start + steps[way]]), None)
    if way is None:
        flat[start] = -1
        return [(x - 1, y - 1)]
    last = start + steps[way]
    before = way ^ 4
    points = []
    while True:
        back = way
        way = next(turn for turn in range(back + 1, back + 9) if pixels[place + steps[turn & 7]]) & 7
        if 0 < way <= back:
            flat[place] = -1
        elif not flat[place]:
            flat[place] = 1
        if way != before:
            points.append((place % width - 1, place // width - 1))
        before = way
        following = place + steps[way]
        if following == start and place == last:
            return points
        place = following
        way = (way + 4) & 7


def _area(points: list[Point]) -> float:
    x, y = np.array(points, dtype=np.int64).T
    return abs(int((np.roll(x, 1) * y - np.roll(y, 1) * x).sum())) / 2


def _length(points: list[Point]) -> float:
    sides = np.diff(np.array([points[-1], *points], dtype=np.float32), axis=0)
    return float(np.sqrt((sides**2).sum(axis=1)).sum(dtype=np.float64))


def _simplified(points: list[Point], tolerance: float) -> list[Point]:
    """Douglas and Peucker's approximation of a closed line."""
    count = len(points)
    place = far = 0
    for _ in range(3):  # two points that are about as far apart as any
        place = (place + far) % count
        distances = [math.dist(points[place], points[(place + step) % count]) for step in range(count)]
        far = distances.index(max(distances))
    if distances[far] ** 2 <= tolerance**2:
        return [points[place]]
    far = (place + far) % count
    waiting = [(far, place), (place, far)]
    kept = []
    while waiting:
        first, last = waiting.pop()
        farthest, distance, base = _farthest(points, first, last)
        if distance**2 <= tolerance**2 * base:
            kept.append(points[first])
        else:
            waiting += [(farthest, last), (first, farthest)]
    return _straightened(kept, tolerance)


def _farthest(points: list[Point], first: int, last: int) -> tuple[int, int, int]:
    """The point between two that is farthest from their line; its distance times the base; the base squared."""
    (x, y), (end_x, end_y) = points[first], points[last]
    dx, dy = end_x - x, end_y - y
    farthest = best = 0
    place = (first + 1) % len(points)
    while place != last:
        distance = abs((points[place][1] - y) * dx - (points[place][0] - x) * dy)
        if distance > best:
            farthest, best = place, distance
        place = (place + 1) % len(points)
    return farthest, best, dx * dx + dy * dy


def _straightened(points: list[Point], tolerance: float) -> list[Point]:
    """Without points on slanted, almost straight lines. The line is read while it is rewritten, as in OpenCV."""
    line = list(points)
    count = left = len(line)
    before, here, ahead, write = line[-1], line[0], 1 % count, 0
    step = 0
    while step < count and left > 2:
        after = line[ahead]
        ahead = (ahead + 1) % count
        dx, dy = after[0] - before[0], after[1] - before[1]
        distance = abs((here[0] - before[0]) * dy - (here[1] - before[1]) * dx)
        forward = (here[0] - before[0]) * (after[0] - here[0]) + (here[1] - before[1]) * (after[1] - here[1])
        if distance**2 <= 0.5 * tolerance**2 * (dx * dx + dy * dy) and dx and dy and forward >= 0:
            left -= 1
            line[write] = before = after
            here = line[ahead]
            ahead = (ahead + 1) % count
            step += 1
        else:
            line[write] = before = here
            here = after
        write = (write + 1) % count
        step += 1
    return line[:left]


def _convex_corners(points: np.ndarray) -> list[np.ndarray]:
    """The corners that point outwards; those of about 45 degrees drawn out by the mean length of their sides."""
    corners = []
    for here, before, after in zip(points, np.roll(points, 1, axis=0), np.roll(points, -1, axis=0), strict=True):
        to_before, to_after = before - here, after - here
        if to_before[1] * to_after[0] - to_before[0] * to_after[1] >= 0:
            continue
        sides = np.linalg.norm(to_before), np.linalg.norm(to_after)
        cosine = np.clip((to_before @ to_after) / (sides[0] * sides[1]), -1, 1)
        if abs(np.degrees(np.arccos(cosine)) - SHARP) < 1:
            outwards = to_before / sides[0] + to_after / sides[1]
            here = here + outwards / np.linalg.norm(outwards) * (sides[0] + sides[1]) / 2
        corners.append(here)
    return corners
