"""Reading order from a layout network's order logits, one rank per query or block.

Knows logits alone. V2 and V3 vote on every pair; V4 tells which block directly precedes which, and votes where that
leaves a choice. Equal to transformers' processors, whose V4 takes graph algorithms from scipy.
"""

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

Edge = tuple[int, int]


def voted_ranks(order_logits: Tensor) -> Tensor:
    """(pages, queries) int64 ranks from (pages, queries, queries) logits of "the row is read before the column".

    Only the upper triangle counts; a pair's other direction is its complement.
    """
    before = order_logits.sigmoid()
    votes = before.triu(diagonal=1).sum(dim=1)
    votes += (1 - before.transpose(1, 2)).tril(diagonal=-1).sum(dim=1)
    positions = votes.argsort(dim=1)
    ranks = torch.arange(votes.shape[1], device=votes.device).expand_as(positions)
    return torch.empty_like(positions).scatter_(1, positions, ranks)


def successor_ranks(relative: np.ndarray, successor: np.ndarray) -> np.ndarray:
    """(blocks,) int64 ranks of one page's blocks from (blocks, blocks) fp32 logits of V4's two order heads.

    `relative`: the row is read somewhere before the column; `successor`: directly before it, where positive.
    """
    edges = _without_cycles(successor)
    small = np.exp(-np.abs(relative))  # never overflows, unlike exp(-x) of a masked logit
    scores = np.where(relative >= 0, 1 / (1 + small), small / (1 + small))
    np.fill_diagonal(scores, 0)
    votes = scores.sum(axis=0)  # high where many others are read before the block
    groups = [_sorted(group, edges, scores) for group in _connected(len(successor), edges)]
    groups.sort(key=lambda group: float(np.mean(votes[group])))
    ranks = np.zeros(len(successor), dtype=np.int64)
    for rank, block in enumerate(block for group in groups for block in group):
        ranks[block] = rank
    return ranks


def _without_cycles(successor: np.ndarray) -> list[Edge]:
    """The pairs of positive logits, row by row, without the weakest of every cycle.

    A pair that lies on no cycle gets onto none when others go, so one round from weak to strong is enough;
    transformers looks for cycles anew after every removal.
    """
    linked = successor > 0
    np.fill_diagonal(linked, val=False)
    pairs = np.argwhere(linked)
    for before, after in pairs[np.argsort(successor[linked], kind="stable")]:
        if _reached(linked, after)[before]:
            linked[before, after] = False
    return [(before, after) for before, after in pairs.tolist() if linked[before, after]]


def _reached(linked: np.ndarray, start: int) -> np.ndarray:
    """(blocks,) True for `start` and all that links lead to from there."""
    reached = np.arange(len(linked)) == start
    new = reached
    while new.any():
        new = linked[new].any(axis=0) & ~reached
        reached = reached | new
    return reached


def _connected(count: int, edges: Collection[Edge]) -> list[list[int]]:
    """Blocks that edges join, whatever their direction; each group ascending, groups by their first block."""
    joined = np.zeros((count, count), dtype=bool)
    for before, after in edges:
        joined[before, after] = joined[after, before] = True
    groups: dict[int, list[int]] = {}
    for block in range(count):
        first = int(_reached(joined, block).argmax())
        groups.setdefault(first, []).append(block)
    return list(groups.values())


def _sorted(group: list[int], edges: Collection[Edge], scores: np.ndarray) -> list[int]:
    """The group so that every edge goes forward; of several next blocks, the one read before most of the others."""
    waiting = {block: sum(j == block for _, j in edges) for block in group}
    following = {block: [j for i, j in edges if i == block] for block in group}
    ready = [block for block in group if not waiting[block]]
    order: list[int] = []
    while ready:
        # Summed in the order of `ready`, so that the last bit is that of transformers; of equal sums the first wins.
        totals = {block: sum(scores[block, other] for other in ready if other != block) for block in ready}
        best = min(ready, key=lambda block: (-totals[block], block))
        ready.remove(best)
        order.append(best)
        for block in following[best]:
            waiting[block] -= 1
            if not waiting[block]:
                ready.append(block)
    return order
