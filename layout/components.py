"""Connected components of a bitmap: the spots of ink on a page, each with its box.

Knows arrays and nothing of pages. Rows are cut into runs of ink, and runs that touch, corners included, are joined.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Components:
    """Spots of ink, from the top down."""

    boxes: np.ndarray  # (spots, 4) int64: left, top, right, bottom; right and bottom are the first pixels outside
    areas: np.ndarray  # (spots,) int64, in pixels
    runs: np.ndarray  # (spots,) int64, of pixels side by side; areas over runs are the usual width of a stroke

    def only(self, kept: np.ndarray) -> "Components":
        return Components(self.boxes[kept], self.areas[kept], self.runs[kept])

    def moved(self, right: int, down: int) -> "Components":
        return Components(self.boxes + np.array([right, down, right, down]), self.areas, self.runs)


def components(ink: np.ndarray) -> Components:
    """The spots of a (rows, columns) bool bitmap."""
    rows, starts, ends = _runs(ink)
    roots = joined(len(rows), *_touching(rows, starts, ends, ink.shape[1]))
    firsts, spots = np.unique(roots, return_inverse=True)
    order = np.argsort(spots, kind="stable")
    cuts = np.searchsorted(spots[order], np.arange(len(firsts)))
    if not len(firsts):
        none = np.zeros(0, dtype=np.int64)
        return Components(np.zeros((0, 4), dtype=np.int64), none, none)
    boxes = np.stack(
        [
            np.minimum.reduceat(starts[order], cuts),
            rows[firsts],
            np.maximum.reduceat(ends[order], cuts),
            np.maximum.reduceat(rows[order], cuts) + 1,
        ],
        axis=1,
    )
    return Components(boxes, np.add.reduceat((ends - starts)[order], cuts), np.diff(cuts, append=len(order)))


def _runs(ink: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, first column, and first column outside, of every run, row by row."""
    height, width = ink.shape
    padded = np.zeros((height, width + 1), dtype=np.int8)
    padded[:, :width] = ink
    flat = padded.reshape(-1)
    changes = np.flatnonzero(np.diff(flat, prepend=np.int8(0)))
    rows, starts = np.divmod(changes[::2], width + 1)
    return rows, starts, starts + changes[1::2] - changes[::2]


def _touching(rows: np.ndarray, starts: np.ndarray, ends: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs, one in the row above the other, that touch."""
    stride = width + 2
    above = (rows - 1) * stride
    first = np.searchsorted(rows * stride + ends, above + starts)  # the first that ends at or after the start
    last = np.searchsorted(rows * stride + starts, above + ends, side="right")  # all that begin by the end
    lower, upper = pairs(first, last)
    return upper, lower


def pairs(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every place i, as often as numbers lie from first[i] up to below last[i], with these numbers."""
    counts = np.maximum(last - first, 0)
    one = np.repeat(np.arange(len(first)), counts)
    return one, np.arange(len(one)) - np.repeat(np.cumsum(counts) - counts, counts) + first[one]


def joined(count: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(count,) the smallest member of the group of each, where pairs of members say what belongs together."""
    roots = np.arange(count)
    while len(one):
        first, second = roots[one], roots[other]
        apart = first != second
        if not apart.any():
            break
        one, other = one[apart], other[apart]
        low, high = np.minimum(first, second)[apart], np.maximum(first, second)[apart]
        np.minimum.at(roots, high, low)
        while (following := roots[roots]).tobytes() != roots.tobytes():
            roots = following
    return roots
