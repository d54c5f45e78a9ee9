"""Levels of headings over the pages of a document, as PaddleX's `relevelTitles` gives them.

Equal to PaddleX 3.7 (inference/pipelines/layout_parsing/title_level.py), but that heights are grouped into the best
four groups, where its k-means, which begins at random, may end with worse ones.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import accumulate

from layout.paddlex.parsed import ParsedBlock

GROUPS = 4  # heights are parted into so many at most
MAX_HEIGHTS = 200  # different ones; beyond, those that are nearly the same count as one
HEADING = "paragraph_title"

_NUMBERINGS = {  # in the order in which they are tried: kind, pattern, level; None: one more than its dots
    "NUM_LIST_BRACKET": (re.compile(r"^\s*(?:[\(（])?(\d+(?:\.\d+)*)[\)）]"), 4),
    "ROMAN": (re.compile(r"^\s*([IVX]+)(?:[\.．\)\s]|$)", re.IGNORECASE), 1),
    "CHINESE_NUM": (
        re.compile(
            r"^\s*(?:第|[（\(])?([一二三四五六七八九十]{1,2})(?:[章节篇卷部条题讲课回）\)]|(?![a-zA-Z\u4e00-\u9fa5]))",
            re.IGNORECASE,
        ),
        1,
    ),
    "LETTER": (re.compile(r"^\s*([A-Z])(?:[\.．\)\s])", re.IGNORECASE), 2),
    "NUM_LIST": (re.compile(r"^\s*(\d+(?:\.\d+)*)(?![）)])(?:[\.]?\s*|(?=[A-Z]))"), None),
}
_FIRST_LEVEL = frozenset(
    """
    ABSTRACT SUMMARY RESUME 绪论 引言 CONTENTS REFERENCES REFERENCE 参考文献 APPENDIX APPENDICES 附录 ACKNOWLEDGMENTS
    INTRODUCTION BACKGROUNDANDRELATEDWORK BACKGROUND RELATEDWORK THEORETICALMODELS DATA METHOD METHODS METHODOLOGY
    TOPICANALYSIS RESULT RESULTS DISCUSSION CONCLUSIONS CONCLUSION LIMITATIONS 研究背景 相关工作 研究方法 实验结果 讨论
    结论 致谢 目录
    """.split()
)


def set_levels(pages: Sequence[Sequence[ParsedBlock]]) -> None:
    """Set `title_level` of every heading, from 1, by its number, the order in which numberings appear, and its size."""
    headings = [block for page in pages for block in page if block.label == HEADING]
    numberings = [numbering(block.content) for block in headings]
    by_height = group_heights([height(block) for block in headings])
    appearance: dict[str, int] = {}
    for kind, _ in filter(None, numberings):
        appearance.setdefault(kind, len(appearance) + 1)
    first_list_level: int | None = None
    for block, found in zip(headings, numberings, strict=True):
        by_size = by_height[height(block)]
        if found is None:
            block.title_level = 1 if _name(block.content) in _FIRST_LEVEL else by_size
            continue
        kind, level = found
        by_appearance = appearance[kind]
        if kind == "NUM_LIST":
            first_list_level = first_list_level or level
            by_appearance += level - first_list_level
        (most, votes), *_ = Counter([level, by_appearance, by_size]).most_common(1)
        block.title_level = most if votes > 1 else by_appearance


def numbering(title: str) -> tuple[str, int] | None:
    """Kind of a heading's number and the level that it speaks for."""
    for kind, (pattern, level) in _NUMBERINGS.items():
        if found := pattern.match(title.strip()):
            return kind, found[1].count(".") + 1 if level is None else level
    return None


def _name(title: str) -> str:
    return title.upper().strip().rstrip("：: ").replace(" ", "")


def height(block: ParsedBlock) -> int:
    """Pixels of a heading's line, across the direction of its text."""
    left, top = (int(side) for side in block.bbox[:2])
    right, bottom = (math.ceil(side) for side in block.bbox[2:])
    lines = block.content.strip().count("\n") + 1
    return int(min(right - left, bottom - top) / lines)


def group_heights(heights: Sequence[int]) -> Mapping[int, int]:
    """Level of each height: those of the tallest group have level 1. Groups have the least squares around their means.

    Optimal groups of points on a line are stretches of them in order, so all divisions are few.
    """
    counts = Counter(heights)
    if len(counts) > MAX_HEIGHTS:
        lowest = min(counts)
        step = (max(counts) - lowest) // MAX_HEIGHTS + 1
        levels = group_heights([(one - lowest) // step for one in heights])
        return {one: levels[(one - lowest) // step] for one in counts}
    points = sorted(counts, reverse=True)
    weights, sums, squares = (
        list(accumulate((counts[point] * point**power for point in points), initial=0)) for power in range(3)
    )

    def cost(start: int, stop: int) -> float:
        """Squares around the mean of the points from `start` to `stop`."""
        total = sums[stop] - sums[start]
        return squares[stop] - squares[start] - total * total / (weights[stop] - weights[start])

    @cache
    def division(start: int, groups: int) -> tuple[float, tuple[int, ...]]:
        """Least cost of the points from `start` in so many groups, and where each ends."""
        if groups == 1:
            return cost(start, len(points)), (len(points),)
        best: tuple[float, tuple[int, ...]] = (math.inf, ())
        for stop in range(start + 1, len(points) - groups + 2):
            rest, ends = division(stop, groups - 1)
            best = min(best, (cost(start, stop) + rest, (stop, *ends)))
        return best

    if not points:
        return {}
    _, ends = division(0, min(GROUPS, len(points)))
    return {point: 1 + sum(end <= place for end in ends) for place, point in enumerate(points)}
