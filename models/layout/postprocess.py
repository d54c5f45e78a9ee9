"""Detections from a layout network's outputs: label, score, box, reading order and outline of every block.

Knows the outputs of transformers' PP-DocLayout classes; drops only what scores below a threshold. `choose` reads them
on the device, `detections` needs the host alone. Equal to the `post_process_object_detection` of transformers'
processors, but for two things: a block whose mask is lost gets its box as its polygon, and of two detections of one
query, whose order transformers leaves open, the better comes first.
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
QUAD_NUMBERS = 10  # a box of V4: its centre and the offsets of four corners


@dataclass(frozen=True)
class Found:
    """What one page's blocks are made of, on the host, the best block first."""

    scores: Tensor  # (blocks,) fp32
    labels: Tensor  # (blocks,) int64
    queries: Tensor  # (blocks,) int64
    boxes: Tensor  # (blocks, 4 or 10) fp32, as the network gives them
    orders: tuple[Tensor, ...]  # V2, V3: (blocks,) int64 ranks; V4: logits of its two heads, (queries, queries) fp32
    inside: Tensor | None  # (blocks, rows, columns) bool: points of V3's masks


def choose(outputs: Any, page: int, threshold: float) -> Found:
    """The blocks of a page that score at least `threshold`, which decides also which points are inside a mask.

    At most as many as queries. Waits for the device.
    """
    logits = outputs.logits[page].float()
    queries, labels = logits.shape
    scores, places = logits.sigmoid().flatten().topk(queries)
    places = places[scores >= threshold]
    scores, chosen = scores[: len(places)], places // labels
    if _has_quads(outputs):
        heads = (outputs.relative_order_logits, outputs.successor_order_logits)
        orders = tuple(logits[page].float().cpu() for logits in heads)
    else:
        orders = (voted_ranks(outputs.order_logits[page : page + 1].float())[0][chosen].cpu(),)
    masks = getattr(outputs, "out_masks", None)
    return Found(
        scores=scores.cpu(),
        labels=(places % labels).cpu(),
        queries=chosen.cpu(),
        boxes=outputs.pred_boxes[page].float()[chosen].cpu(),
        orders=orders,
        inside=None if masks is None else (masks[page][chosen].float().sigmoid() > threshold).cpu(),
    )


def detections(found: Found, size: Size, input_size: Size, labels: Mapping[int, str]) -> list[Detection]:
    """A page's blocks in reading order. `size`: of the page; `input_size`: of the network's input."""
    ranks, order = _ranks(found).sort(stable=True)
    boxes, polygons = _places(found, order, size, input_size)
    rows = (found.labels[order].tolist(), found.scores[order].tolist(), boxes.tolist(), ranks.tolist(), polygons)
    return [
        Detection(labels[label], score, Box(*box), rank, _corners_of(polygon))
        for label, score, box, rank, polygon in zip(*rows, strict=True)
    ]


def _ranks(found: Found) -> Tensor:
    """(blocks,) int64: V2 and V3 rank all queries, V4 those of the blocks alone."""
    if len(found.orders) == 1:
        return found.orders[0]
    unique, inverse = found.queries.unique(return_inverse=True)
    relative, successor = (logits[unique][:, unique].numpy() for logits in found.orders)
    return torch.from_numpy(successor_ranks(relative, successor))[inverse]


def _places(
    found: Found, order: Tensor, size: Size, input_size: Size
) -> tuple[np.ndarray, Sequence[np.ndarray | None]]:
    """(blocks, 4) fp32 boxes in pixels, and the polygons, of the blocks in `order`."""
    raw = found.boxes[order]
    if raw.shape[1] == QUAD_NUMBERS:
        corners = _corners(raw, size)
        return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1).numpy(), list(corners.numpy())
    boxes = _pixels(raw, size).numpy()
    if found.inside is None:
        return boxes, [None] * len(boxes)
    return boxes, outlines(found.inside[order].numpy(), boxes, (input_size[0] / size[0], input_size[1] / size[1]))


def _corners_of(polygon: np.ndarray | None) -> Polygon | None:
    return None if polygon is None else tuple((x, y) for x, y in polygon.tolist())


def _has_quads(outputs: Any) -> bool:
    """V4's boxes are four corners."""
    return outputs.pred_boxes.shape[-1] == QUAD_NUMBERS


def _pixels(boxes: Tensor, size: Size) -> Tensor:
    """(blocks, 4) left, top, right, bottom from centre, width and height as fractions of the page."""
    centres, sides = boxes.split(2, dim=1)
    return torch.cat([centres - 0.5 * sides, centres + 0.5 * sides], dim=1) * boxes.new_tensor(size + size)


def _corners(boxes: Tensor, size: Size) -> Tensor:
    """(blocks, 4, 2) x and y from V4's centre and four offsets of corners, 0.5 being none; the top left one first."""
    return (boxes[:, None, :2] + (boxes[:, 2:].unflatten(1, (4, 2)) - 0.5)) * boxes.new_tensor(size)
