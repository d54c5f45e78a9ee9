"""Reading order of boxes from the white between them: columns side by side, and what goes across them.

Knows boxes and the height of a glyph, and neither pixels nor words. A page is cut into strips where white goes all the
way across; strips that leave the same gutter free are columns, read one after another, and cut again.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from models.detection import Box

Interval = tuple[float, float]

# Heights of a glyph:
GUTTER = 1.6  # white between two columns
WIDTH = 12.0  # a narrower column holds bullets, numbers of items or cells of a table, which belong to their rows
NEXT = 3.0  # times the white between columns: what is so near to the end of a gutter has ended it
HEIGHT = 3.0  # two lines; a lower column is part of a line with a wide blank

FILLED = 0.5  # share of a column's width that half of its lines reach; cells of tables do not
DEPTH = 6  # columns in columns


def columns(
    boxes: Sequence[Box], glyph: float, gutter: float = GUTTER, known: Sequence[Box] = (), depth: int = DEPTH
) -> list[list[int]]:
    """Places of the boxes by column, in reading order; what goes across columns is a column of its own.

    `glyph`: height in pixels; `gutter`: the least white between columns, in heights of a glyph; `known`: gutters that
    are sure, which end above or below what goes across them.
    """
    found: list[list[int]] = []
    going_on = False  # whether the last column is of the full width
    for group, covered in _groups(boxes, gutter * glyph, [gap for gap in known if gap.height >= HEIGHT * glyph]):
        parts = _parts(boxes, group, _gutters(covered, gutter * glyph), glyph) if depth else [group]
        if len(parts) == 1 and going_on:
            found[-1] += group
        elif len(parts) == 1:
            found.append(group)
        for part in parts if len(parts) > 1 else ():
            inner = columns([boxes[place] for place in part], glyph, gutter, known, depth - 1)
            found += [[part[place] for place in column] for column in inner]
        going_on = len(parts) == 1
    return found


def _groups(boxes: Sequence[Box], white: float, known: Sequence[Box]) -> Iterator[tuple[list[int], list[Interval]]]:
    """Strips that leave the same gutters free, or no gutters: places of boxes, and what they cover of the width."""
    group: list[int] = []
    covered: list[Interval] = []
    ended = False  # whether the last strip is a line over a known gutter that begins right below it
    for strip in _strips(boxes):
        if group and ended:
            yield group, covered
            group, covered = [], []
        ended = any(_is_over(strip, boxes, gap, white) for gap in known)
        own = union([(boxes[place].left, boxes[place].right) for place in strip])
        together = union([*covered, *own])
        before, here, left = (len(_gutters(spans, white)) for spans in (covered, own, together))
        if group and (bool(before) != bool(here) or not left) and left < max(before, here):
            yield group, covered
            group, together = [], own
        group, covered = [*group, *strip], together
    if group:
        yield group, covered


def _is_over(strip: Sequence[int], boxes: Sequence[Box], gap: Box, white: float) -> bool:
    """Whether a strip holds one line alone that goes across a gutter, right above it."""
    widest = max((boxes[place] for place in strip), key=lambda box: box.width)
    alone = all(widest.left <= boxes[place].left and boxes[place].right <= widest.right for place in strip)
    across = widest.left < gap.left and gap.right < widest.right
    return alone and across and -white <= gap.top - widest.bottom <= NEXT * white


def _strips(boxes: Sequence[Box]) -> Iterator[list[int]]:
    """Places of the boxes between white that goes all the way across, from the top down."""
    strip: list[int] = []
    bottom = 0.0
    for place in sorted(range(len(boxes)), key=lambda place: boxes[place].top):
        if strip and boxes[place].top >= bottom:
            yield strip
            strip, bottom = [], 0.0
        strip.append(place)
        bottom = max(bottom, boxes[place].bottom)
    if strip:
        yield strip


def union(intervals: Sequence[Interval]) -> list[Interval]:
    union: list[Interval] = []
    for start, end in sorted(intervals):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(end, union[-1][1]))
        else:
            union.append((start, end))
    return union


def _gutters(covered: Sequence[Interval], white: float) -> list[float]:
    """Middles of the white that is wide enough."""
    return [(end + start) / 2 for (_, end), (start, _) in pairwise(covered) if start - end >= white]


def _parts(boxes: Sequence[Box], group: Sequence[int], gutters: Sequence[float], glyph: float) -> list[list[int]]:
    """The group by columns; what is no column of lines counts to the one right of it, at the end left of it."""
    parts: list[list[int]] = []
    part: list[int] = []
    for left, right in pairwise([float("-inf"), *gutters, float("inf")]):
        between = [place for place in group if left < boxes[place].left < right]
        part += between
        if _is_column([boxes[place] for place in between], glyph):
            parts.append(part)
            part = []
    if not parts:
        return [part]
    parts[-1] += part
    return parts


def _is_column(boxes: Sequence[Box], glyph: float) -> bool:
    if not boxes:
        return False
    left, right = min(box.left for box in boxes), max(box.right for box in boxes)
    high = max(box.bottom for box in boxes) - min(box.top for box in boxes)
    lines = [[boxes[place] for place in strip] for strip in _strips(boxes)]
    widths = [max(box.right for box in line) - min(box.left for box in line) for line in lines]
    return right - left >= WIDTH * glyph and high >= HEIGHT * glyph and median(widths) >= FILLED * (right - left)
