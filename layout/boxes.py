"""Detections of a layout network -> the boxes that are kept, in reading order.

Knows labels by name, as the network's config gives them, and the size of the page; no pixels, no network and no text.
Equal to `LayoutAnalysisProcess` of PaddleX 3.7 as its PaddleOCR-VL pipelines set it up, but for these faults of theirs:

- Of two boxes that contain each other, both of labels merged as "large", both are dropped. Here the larger stays.
- A page on which nothing was found is an error. Here it has no boxes.
- Where one mode of merging holds for all labels, boxes are dropped, but not their outlines, and others get these.
- A box grows by its unclip ratio, but what lies outside the old outline is painted white. Here the outline grows too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from layout import polygons
from layout.options import LayoutOptions, Merge, Ratio
from models.detection import SEGMENTATION, Box, Detection

SAME_LABEL_IOU = 0.6  # from here on, two boxes of one label are one block found twice
OTHER_LABEL_IOU = 0.98  # the same for boxes of two labels
IMAGE = "image"
PAGE_SHARE = {True: 0.82, False: 0.93}  # landscape or not: an image above this share of the page is the page itself


_LARGE: Mapping[str, Merge] = dict.fromkeys(
    ("chart", "display_formula", "doc_title", "formula", "inline_formula", "paragraph_title"), "large"
)


@dataclass(frozen=True)
class Rules:
    """What differs between layout networks; a request's options go before."""

    threshold: float  # detections at or below this score are dropped
    thresholds: Mapping[str, float] = field(default_factory=dict)  # for labels with a threshold of their own
    merge: Mapping[str, Merge] = field(default_factory=lambda: _LARGE)  # see LayoutOptions.merge_boxes


# Source: PaddleX 3.7, configs/pipelines/PaddleOCR-VL.yaml and PaddleOCR-VL-1.6.yaml, by model_type of transformers'
# config. No pipeline of PaddleX has V4 yet; it is V3's successor with the same scores, and gets V3's rules. Checkpoints
# that PaddleX's converter makes for transformers have one label, `formula`, for both kinds of formulas.
_SURER = ("display_formula", "doc_title", "formula", "inline_formula", "paragraph_title", "text", "vertical_text")
_V3 = Rules(threshold=0.3)
RULES: Mapping[str, Rules] = {
    "pp_doclayout_v2": Rules(threshold=0.5, thresholds={**dict.fromkeys(_SURER, 0.4), "seal": 0.45}),
    "pp_doclayout_v3": _V3,
    "pp_doclayout_v4": _V3,
    SEGMENTATION: Rules(threshold=0.0, merge={}),  # finds no block twice, and none that is none
}
OTHER_LABELS = 0.5  # threshold of labels that a request's mapping leaves out; source: PaddleX's LayoutAnalysisProcess


def rules_of(model_type: str) -> Rules:
    """The rules for networks of a `model_type`, as their config has it. Raises KeyError for one without rules."""
    return RULES[model_type]


def lowest_threshold(rules: Rules, options: LayoutOptions) -> float:
    """The score down to which a network's detections are needed."""
    if options.threshold is None:
        return min([rules.threshold, *rules.thresholds.values()])
    if isinstance(options.threshold, Mapping):
        return min([OTHER_LABELS, *options.threshold.values()])
    return options.threshold


def select(
    detections: Iterable[Detection], size: tuple[int, int], rules: Rules, options: LayoutOptions
) -> list[Detection]:
    """The detections that are kept, in reading order, boxes in whole pixels of a page of `size` (width, height)."""
    threshold = _thresholds(rules, options)
    found = [replace(one, box=Box(*map(round, one.box))) for one in detections if one.score > threshold(one.label)]
    if options.nms:
        found = _without_repeats(found)
    found = _merged(
        _without_whole_page(found, size), rules.merge if options.merge_boxes is None else options.merge_boxes
    )
    found = _shaped(sorted(found, key=lambda one: one.order), options)
    clipped = [replace(one, box=_clip(one.box, size)) for one in (_unclipped(one, options.unclip) for one in found)]
    return [one for one in clipped if one.box.width > 0 and one.box.height > 0]


def _thresholds(rules: Rules, options: LayoutOptions) -> Callable[[str], float]:
    if options.threshold is None:
        return lambda label: rules.thresholds.get(label, rules.threshold)
    if isinstance(options.threshold, Mapping):
        return partial(_of_label, options.threshold)
    whole = options.threshold
    return lambda _: whole


def _of_label(thresholds: Mapping[str, float], label: str) -> float:
    return thresholds.get(label, OTHER_LABELS)


def _shaped(detections: Sequence[Detection], options: LayoutOptions) -> list[Detection]:
    shaped: list[Detection] = []
    for found in detections:
        before = shaped[-1].polygon if shaped else None
        polygon = polygons.shaped(found.box, found.polygon, options.shape, before) if found.polygon else None
        shaped.append(replace(found, polygon=polygon))
    return shaped


def _unclipped(found: Detection, ratios: Ratio | Mapping[str, Ratio]) -> Detection:
    wide, high = ratios.get(found.label, (1.0, 1.0)) if isinstance(ratios, Mapping) else ratios
    box = found.box
    if (wide, high) == (1.0, 1.0):
        return found
    x, y = box.left + box.width / 2, box.top + box.height / 2
    polygon = found.polygon and tuple((x + wide * (at - x), y + high * (to - y)) for at, to in found.polygon)
    half_wide, half_high = box.width * wide / 2, box.height * high / 2
    return replace(found, box=Box(x - half_wide, y - half_high, x + half_wide, y + half_high), polygon=polygon)


def _clip(box: Box, size: tuple[int, int]) -> Box:
    """The box in whole pixels of the page, towards its top left corner."""
    left, top = max(0, box.left), max(0, box.top)
    return Box(*map(int, (left, top, min(size[0], box.right), min(size[1], box.bottom))))


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


def _merged(detections: Sequence[Detection], modes: Merge | Mapping[str, Merge]) -> list[Detection]:
    """Without boxes that others hold, or that hold others."""
    count = range(len(detections))
    holders = [[j for j in count if j != i and detections[i].box.inside(detections[j].box)] for i in count]

    def is_large(i: int) -> bool:
        return (modes if isinstance(modes, str) else modes.get(detections[i].label)) == "large"

    def swallows(j: int, i: int) -> bool:
        """Whether `j`, which holds `i`, takes it; of two that could take each other, the larger does."""
        mutual = is_large(i) and i in holders[j]
        return is_large(j) and (not mutual or _strength(detections[j]) > _strength(detections[i]))

    dropped = {i for i in count if any(swallows(j, i) for j in holders[i])}
    for small in _small_groups(detections, modes):
        dropped |= {j for i in small for j in holders[i]} - {i for i in small if holders[i]}
    return [found for i, found in enumerate(detections) if i not in dropped]


def _small_groups(detections: Sequence[Detection], modes: Merge | Mapping[str, Merge]) -> list[list[int]]:
    """Places of the boxes that win over what holds them, each group judged by itself."""
    if isinstance(modes, str):
        return [list(range(len(detections)))] if modes == "small" else []
    labels = [label for label, mode in modes.items() if mode == "small"]
    return [[i for i, found in enumerate(detections) if found.label == label] for label in labels]


def _strength(found: Detection) -> tuple[float, float]:
    return found.box.area, found.score
