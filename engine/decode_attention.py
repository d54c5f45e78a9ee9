"""Attention of a decode step: stores each row's new key and value in its slot, then attends to the slot.

There are several ways with the same result; engine/fastest.py chooses one by measuring.
"""

import math
from collections import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from engine.kv_cache import KVCache
from models.paddleocr_vl.kernels import Kernels
from models.protocol import Attend

if TYPE_CHECKING:
    from models.paddleocr_vl.cpu_attention import CpuAttention

JOINT_TOKENS = {"cpu": 200, "cuda": 4000}  # overhead of a call of attention, in tokens of the cache that it could read
WASTED_TOKENS = 8192  # cache positions a graph may read in vain: a fifth of the time that reading the weights takes

Stored = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""q (B, heads, D), keys and values (B, kv_heads, L, D), and a `Limit` or None for all L keys -> (B, heads, D)"""

Limit = Callable[[Tensor, int], Tensor]
"""Cache positions of the rows' newest tokens (B,), up to which they attend, and L -> what tells `Stored` of them"""


class DecodeAttention(Protocol):
    """Attention of the rows of a decode step over one KV cache."""

    wasted_tokens: float
    """Cache positions that the slots of a block may be read in vain."""

    reads_beyond: bool
    """A block's slots are read, with a weight of 0, beyond what is written in them."""

    def of_block(self, slots: slice, length: int, cache_positions: Tensor) -> Attend:
        """For neighbouring slots, a row each, whose cache positions (B,) only the device knows.

        They are below `length`, or the scratch position where a slot has no sequence in the step.
        """

    def of_rows(
        self, slots: abc.Sequence[int], lengths: abc.Sequence[int], slot_index: Tensor, cache_positions: Tensor
    ) -> Attend:
        """For any slots, in ascending order, and their lengths with the new token; both are on the device too, (B,)."""


class StoredAttention:
    """A call of attention over views of neighbouring slots, all up to one length."""

    wasted_tokens: float = WASTED_TOKENS
    reads_beyond = True

    def __init__(self, cache: KVCache, attention: Stored, limit: Limit) -> None:
        self._cache, self._attention, self._limit = cache, attention, limit

    def of_block(self, slots: slice, length: int, cache_positions: Tensor) -> Attend:
        slot_index = torch.arange(slots.start, slots.stop, device=cache_positions.device)
        limit = self._limit(cache_positions, length)

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            self._cache.append(layer, slot_index, cache_positions, kv)
            return self._attention(q, *self._cache.view(layer, slots, length), limit)

        return attend

    def of_rows(
        self, slots: abc.Sequence[int], lengths: abc.Sequence[int], slot_index: Tensor, cache_positions: Tensor
    ) -> Attend:
        groups = together(slots, lengths, JOINT_TOKENS[cache_positions.device.type])
        longest = [max(lengths[own]) for own in groups]
        limits = [
            None if min(lengths[own]) == length else self._limit(cache_positions[own], length)
            for own, length in zip(groups, longest, strict=True)
        ]

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            self._cache.append(layer, slot_index, cache_positions, kv)
            outputs = []
            for own, length, limit in zip(groups, longest, limits, strict=True):
                stored = slice(slots[own.start], slots[own.start] + own.stop - own.start)
                outputs.append(self._attention(q[own], *self._cache.view(layer, stored, length), limit))
            return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

        return attend


class KernelAttention:
    """Our own kernel, which reads of every row just its own keys, wherever its slot is."""

    wasted_tokens = math.inf
    reads_beyond = False

    def __init__(self, cache: KVCache, kernels: "Kernels | CpuAttention") -> None:
        self._cache, self._kernels = cache, kernels

    def of_block(self, slots: slice, length: int, cache_positions: Tensor) -> Attend:
        return self._attend(
            torch.arange(slots.start, slots.stop, device=cache_positions.device), length, cache_positions
        )

    def of_rows(
        self,
        slots: abc.Sequence[int],  # noqa: ARG002 - it reads where they are on the device
        lengths: abc.Sequence[int],
        slot_index: Tensor,
        cache_positions: Tensor,
    ) -> Attend:
        return self._attend(slot_index, max(lengths), cache_positions)

    def _attend(self, slot_index: Tensor, length: int, cache_positions: Tensor) -> Attend:
        slot_index, cache_positions = slot_index.contiguous(), cache_positions.contiguous()  # columns of a table

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            entries = self._cache.entries[layer]
            return self._kernels.attend(q, kv, entries, slot_index, cache_positions, length, self._cache.scratch)

        return attend


def mask_beyond(dtype: torch.dtype) -> Limit:
    """A `Limit`: a mask (B, 1, 1, L) that is added to scores."""

    def limit(cache_positions: Tensor, length: int) -> Tensor:
        beyond = torch.arange(length, device=cache_positions.device) > cache_positions[:, None]
        mask = torch.zeros(beyond.shape, dtype=dtype, device=cache_positions.device)
        return mask.masked_fill_(beyond, float("-inf"))[:, None, None]

    return limit


def flash_lengths(cache: KVCache) -> Limit:
    """A `Limit` for `decode_flash`."""
    slot_tokens = cache.entries.stride(1) // cache.entries.shape[-1]

    def limit(cache_positions: Tensor, length: int) -> Tensor:
        rows = torch.arange(len(cache_positions) + 1, dtype=torch.int32, device=cache_positions.device)
        used = torch.cat((cache_positions, cache_positions[:1])).add(1).clamp(max=length)
        return torch.stack((rows, rows * slot_tokens, used.int()))

    return limit


def together(slots: abc.Sequence[int], lengths: abc.Sequence[int], joint_tokens: int) -> list[slice]:
    """Groups of rows that share a call of attention: neighbouring slots, as long as that wastes little.

    Every slot in a call is read up to the longest length. `joint_tokens` is the overhead of another call, in tokens
    read.
    """
    groups: list[slice] = []
    longest = 0
    for row, (slot, length) in enumerate(zip(slots, lengths, strict=True)):
        group = groups[-1] if groups else slice(0, 0)
        count = group.stop - group.start
        wasted = count * (max(longest, length) - longest) + max(longest, length) - length
        if count and slot == slots[row - 1] + 1 and wasted <= joint_tokens:
            groups[-1], longest = slice(group.start, row + 1), max(longest, length)
        else:
            groups.append(slice(row, row + 1))
            longest = length
    return groups
