"""What a layout network finds on a page: boxes with labels, in reading order. Knows no tensors, rules or text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

Polygon: TypeAlias = tuple[tuple[float, float], ...]
"""Corners (x, y) in pixels of the page, the last joined to the first."""

SEGMENTATION = "segmentation"
"""What stands for a network's model_type where blocks are told apart by their ink."""

SEGMENTATION_LABELS = (
    *("doc_title", "paragraph_title", "text", "figure_title", "table", "image", "display_formula", "footnote"),
    *("header", "footer", "number"),
)
"""The labels that it gives."""

CONTAINED = 0.9  # share of its own area from which a box lies inside another


class Box(NamedTuple):
    """A rectangle in pixels of the upright page; right and bottom are the first pixels outside."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def area(self) -> float:
        return self.width * self.height

    def shared(self, other: "Box") -> float:
        """Area of the intersection."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0, wide) * max(0, high)

    def overlap(self, other: "Box") -> float:
        """Intersection over the smaller of both areas, 0 to 1."""
        smaller = min(self.area, other.area)
        return self.shared(other) / smaller if smaller > 0 else 0.0

    def inside(self, other: "Box") -> bool:
        return self.area > 0 and self.shared(other) / self.area >= CONTAINED


def hull(boxes: Sequence[Box]) -> Box:
    """The smallest box around some, at least one."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return Box(min(lefts), min(tops), max(rights), max(bottoms))


@dataclass(frozen=True)
class Detection:
    """A block as a layout network found it. A query that two labels fit gives two detections of one order."""

    label: str  # from the checkpoint's config
    score: float  # 0 to 1; 0 for what no network found
    box: Box  # may leave the page a little
    order: int  # place in reading order, smallest first; with gaps where blocks were dropped
    polygon: Polygon | None = None  # its outline, from networks that give one
