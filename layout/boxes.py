"""Detections of a layout network -> the boxes that are kept, in reading order.

Knows labels by name, as the network's config gives them, and the size of the page; no pixels, no network and no text.
Equal to `LayoutAnalysisProcess` of PaddleX 3.7 as its PaddleOCR-VL pipelines set it up, but for these faults of theirs:

- Of two boxes that contain each other, both of labels that swallow, both are dropped. Here the larger stays.
- A page on which nothing was found is an error. Here it has no boxes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from models.detection import Box, Detection

SAME_LABEL_IOU = 0.6  # from here on, two boxes of one label are one block found twice
OTHER_LABEL_IOU = 0.98  # the same for boxes of two labels
IMAGE = "image"
PAGE_SHARE = {True: 0.82, False: 0.93}  # landscape or not: an image above this share of the page is the page itself


@dataclass(frozen=True)
class Rules:
    """What differs between layout networks."""

    threshold: float  # detections at or below this score are dropped
    thresholds: Mapping[str, float] = field(default_factory=dict)  # for labels with a threshold of their own
    swallow: frozenset[str] = frozenset({"chart", "display_formula", "doc_title", "inline_formula", "paragraph_title"})
    """Labels whose boxes swallow what lies inside them, whatever its label."""

    def accept(self, detection: Detection) -> bool:
        return detection.score > self.thresholds.get(detection.label, self.threshold)


# Source: PaddleX 3.7, configs/pipelines/PaddleOCR-VL.yaml and PaddleOCR-VL-1.6.yaml.
_SURER = ("display_formula", "doc_title", "inline_formula", "paragraph_title", "text", "vertical_text")
RULES = {
    "PP-DocLayoutV2": Rules(threshold=0.5, thresholds={**dict.fromkeys(_SURER, 0.4), "seal": 0.45}),
    "PP-DocLayoutV3": Rules(threshold=0.3),
}


def select(detections: Iterable[Detection], size: tuple[int, int], rules: Rules) -> list[Detection]:
    """The detections that are kept, in reading order, boxes in whole pixels of a page of `size` (width, height)."""
    rounded = [replace(found, box=Box(*map(round, found.box))) for found in detections if rules.accept(found)]
    kept = _without_swallowed(_without_whole_page(_without_repeats(rounded), size), rules.swallow)
    clipped = [replace(found, box=_clip(found.box, size)) for found in sorted(kept, key=lambda found: found.order)]
    return [found for found in clipped if found.box.width > 0 and found.box.height > 0]


def _clip(box: Box, size: tuple[int, int]) -> Box:
    return Box(max(0, box.left), max(0, box.top), min(size[0], box.right), min(size[1], box.bottom))


def _without_repeats(detections: Iterable[Detection]) -> list[Detection]:
    """Non-maximum suppression, by falling score."""
    kept: list[Detection] = []
    for found in sorted(detections, key=lambda found: -found.score):
        if not any(_repeats(found, better) for better in kept):
            kept.append(found)
    return kept


def _repeats(found: Detection, better: Detection) -> bool:
    return _iou(found.box, better.box) >= (SAME_LABEL_IOU if found.label == better.label else OTHER_LABEL_IOU)


def _iou(one: Box, other: Box) -> float:
    """Intersection over union, with the pixels at right and bottom counted in, as the network's thresholds want it."""
    one, other = (Box(box.left, box.top, box.right + 1, box.bottom + 1) for box in (one, other))
    shared = one.shared(other)
    return shared / (one.area + other.area - shared)


def _without_whole_page(detections: list[Detection], size: tuple[int, int]) -> list[Detection]:
    """Without images that are the page itself, unless nothing would be left."""
    width, height = size
    limit = PAGE_SHARE[width > height] * width * height
    smaller = [found for found in detections if found.label != IMAGE or _clip(found.box, size).area <= limit]
    return smaller or detections


def _without_swallowed(detections: Sequence[Detection], labels: frozenset[str]) -> list[Detection]:
    swallowing = [found for found in detections if found.label in labels]
    return [
        found
        for found in detections
        if not any(other is not found and _swallows(other, found, labels) for other in swallowing)
    ]


def _swallows(other: Detection, found: Detection, labels: frozenset[str]) -> bool:
    """Whether `other`, whose label swallows, takes `found`; of two that could take each other, the larger does."""
    if not found.box.inside(other.box):
        return False
    mutual = found.label in labels and other.box.inside(found.box)
    return not mutual or (other.box.area, other.score) > (found.box.area, found.score)
