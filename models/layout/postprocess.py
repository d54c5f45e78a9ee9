"""Detections from a layout network's outputs: label, score, box, reading order and outline of every block.

Knows the outputs of transformers' PP-DocLayout classes; drops only what scores below a threshold. Equal to the
`post_process_object_detection` of transformers' processors, but for two things: a block whose mask is lost gets its box
as its polygon, and of two detections of one query, whose order transformers leaves open, the better comes first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.detection import Box, Detection, Polygon
from models.layout.order import successor_ranks, voted_ranks
from models.layout.polygons import outlines

Size = tuple[int, int]  # width and height in pixels


@dataclass(frozen=True)
class _Chosen:
    """One page's best pairs of query and label, at least as good as the threshold, the best first."""

    scores: Tensor  # (blocks,) fp32
    labels: Tensor  # (blocks,) int64
    queries: Tensor  # (blocks,) int64

    def __getitem__(self, places: Tensor) -> "_Chosen":
        return _Chosen(self.scores[places], self.labels[places], self.queries[places])


def detections(
    outputs: Any, sizes: Sequence[Size], input_size: Size, labels: Mapping[int, str], threshold: float
) -> list[list[Detection]]:
    """Every page's blocks that score at least `threshold`, in reading order.

    `sizes`: of the pages; `input_size`: of the network's input. `threshold` decides also which points of V3's masks are
    inside a block.
    """
    pages = []
    for page, (size, chosen) in enumerate(zip(sizes, _chosen(outputs.logits.float(), threshold), strict=True)):
        ranks, order = _ranks(outputs, page, chosen.queries).sort(stable=True)
        chosen = chosen[order]
        boxes, polygons = _places(outputs, page, chosen.queries, size, input_size, threshold)
        rows = (chosen.labels.tolist(), chosen.scores.tolist(), boxes.tolist(), ranks.tolist(), polygons)
        pages.append(
            [
                Detection(
                    labels[label],
                    score,
                    Box(*box),
                    rank,
                    None if polygon is None else tuple(map(tuple, polygon.tolist())),
                )
                for label, score, box, rank, polygon in zip(*rows, strict=True)
            ]
        )
    return pages


def _chosen(logits: Tensor, threshold: float) -> list[_Chosen]:
    """The pairs of each page, at most as many as queries, from (pages, queries, labels) logits."""
    queries, labels = logits.shape[1:]
    scores, places = logits.sigmoid().flatten(1).topk(queries, dim=1)
    every = _Chosen(scores, places % labels, places // labels)
    return [
        _Chosen(every.scores[page], every.labels[page], every.queries[page])[scores[page] >= threshold]
        for page in range(len(logits))
    ]


def _ranks(outputs: Any, page: int, queries: Tensor) -> Tensor:
    """(blocks,) int64: V2 and V3 rank all queries, V4 those of the blocks alone."""
    if not _has_quads(outputs):
        return voted_ranks(outputs.order_logits[page : page + 1].float())[0][queries]
    unique, inverse = queries.unique(return_inverse=True)
    relative, successor = (
        logits[page][unique][:, unique].float().cpu().numpy()
        for logits in (outputs.relative_order_logits, outputs.successor_order_logits)
    )
    return torch.from_numpy(successor_ranks(relative, successor)).to(queries.device)[inverse]


def _places(
    outputs: Any, page: int, queries: Tensor, size: Size, input_size: Size, threshold: float
) -> tuple[np.ndarray, Sequence[np.ndarray | None]]:
    """(blocks, 4) fp32 boxes in pixels, and the polygons, of one page's queries."""
    found = outputs.pred_boxes[page].float()[queries]
    if _has_quads(outputs):
        corners = _corners(found, size)
        return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1).cpu().numpy(), list(corners.cpu().numpy())
    boxes = _pixels(found, size).cpu().numpy()
    masks = getattr(outputs, "out_masks", None)
    if masks is None:
        return boxes, [None] * len(boxes)
    inside = masks[page][queries].float().sigmoid() > threshold
    return boxes, outlines(inside.cpu().numpy(), boxes, (input_size[0] / size[0], input_size[1] / size[1]))


def _corners_of(polygon: np.ndarray | None) -> Polygon | None:
    return None if polygon is None else tuple((x, y) for x, y in polygon.tolist())


def _has_quads(outputs: Any) -> bool:
    """V4's boxes are four corners."""
    return outputs.pred_boxes.shape[-1] == 10


def _pixels(boxes: Tensor, size: Size) -> Tensor:
    """(blocks, 4) left, top, right, bottom from centre, width and height as fractions of the page."""
    centres, sides = boxes.split(2, dim=1)
    return torch.cat([centres - 0.5 * sides, centres + 0.5 * sides], dim=1) * boxes.new_tensor(size + size)


def _corners(boxes: Tensor, size: Size) -> Tensor:
    """(blocks, 4, 2) x and y from V4's centre and four offsets of corners, 0.5 being none; the top left one first."""
    return (boxes[:, None, :2] + (boxes[:, 2:].unflatten(1, (4, 2)) - 0.5)) * boxes.new_tensor(size)
