"""Wishes of a request about how a page is cut into blocks, as PaddleX's /layout-parsing takes them.

Knows labels by name. Whether numbers are in range, and labels are the network's, is checked where a request is taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from models.protocol import PixelBounds

Merge: TypeAlias = Literal["large", "small", "union"]
Shape: TypeAlias = Literal["rect", "quad", "poly", "auto"]
Ratio: TypeAlias = tuple[float, float]  # width's and height's
Kind: TypeAlias = Literal["ocr", "table", "chart", "formula", "seal", "spotting"]


@dataclass(frozen=True, kw_only=True)
class LayoutOptions:
    """The defaults are those of PaddleX's PaddleOCR-VL pipelines, and the steps on ink that only this server has."""

    threshold: float | Mapping[str, float] | None = None
    """Scores up to which detections are dropped, 0 to 1; a label that a mapping leaves out gets 0.5. None: the
    network's own."""
    nms: bool = True
    """Whether one of two boxes that are nearly the same is dropped."""
    unclip: Ratio | Mapping[str, Ratio] = (1.0, 1.0)
    """Sides of a box after over before, about its centre; labels that a mapping leaves out stay."""
    merge_boxes: Merge | Mapping[str, Merge] | None = None
    """What goes where a box lies in another: large, the inner one; small, the outer one; union, neither. A mapping
    has it by label of the larger box for large, of the smaller for small. None: the network's own."""
    shape: Shape = "auto"
    """What is made of outlines: boxes, the smallest slanted rectangles, the outlines themselves, or what fits best."""
    merge_blocks: bool = True
    """Whether texts that go on in the next column or beside a figure are read as one image."""
    read: frozenset[str] = frozenset()
    """Labels of images that are to be read."""
    bounds: Mapping[Kind, PixelBounds] = field(default_factory=dict)
    """Pixels of the image that the model sees, by kind of prompt; others have the defaults."""
    whole_glyphs: bool = False
    """Whether boxes of text are fitted to the ink that is theirs; PaddleX's boxes stay as they are."""
    uncovered_ink: bool = False
    """Whether ink that no box covers is read as well."""
