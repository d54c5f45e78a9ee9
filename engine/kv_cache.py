"""The cache tensors: one contiguous stretch of keys and values for each slot, in each layer."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor


class KVCache:
    """Keys and values of all slots, (layers, slots, 2, kv_heads, length + 1, D)."""

    def __init__(
        self,
        config: Any,
        *,
        slots: int,
        length: int,
        device: torch.device,
        dtype: torch.dtype,
        stored: torch.dtype | None = None,
    ) -> None:
        """`config` is the text config; `length` tokens fit in a slot, plus one scratch position.

        `dtype`: of the keys and values that are given; `stored`: what they are rounded to, if that differs.
        """
        self.scratch = length  # the position to which rows of a batch without a sequence write
        shape = (config.num_hidden_layers, slots, 2, config.num_key_value_heads, length + 1, config.head_dim)
        self.dtype = dtype
        self.entries = zeros(shape, device, stored or dtype)
        self._heads = self.entries.flatten(2, 3)  # keys' heads, then values'

    def write_prompt(self, layer: int, slot: int, start: int, kv: Tensor) -> tuple[Tensor, Tensor]:
        """Store a prompt's last L tokens, keys and then values (L, 2 * kv_heads, D), after its first `start`.

        Returns the keys and values of the whole prompt as they are stored, (kv_heads, start + L, D), as views unless
        they are stored in another dtype.
        """
        stop = start + len(kv)
        self._heads[layer, slot, :, start:stop].copy_(kv.transpose(0, 1))
        keys, values = self.entries[layer, slot, :, :, :stop].to(self.dtype)
        return keys, values

    def append(self, layer: int, slots: Tensor, cache_positions: Tensor, kv: Tensor) -> None:
        """Store one token in each of B slots: `slots` and `cache_positions` (B,), `kv` (B, 2 * kv_heads, D)."""
        self._heads[layer][slots, :, cache_positions] = kv

    def clear(self, slot: int, cache_positions: slice) -> None:
        """Zero some entries, after a computation that was not finite."""
        self.entries[:, slot, :, :, cache_positions] = 0

    def exchange(self, a: int, b: int, length: int) -> None:
        """Swap the first `length` entries of two slots."""
        for layer in self.entries[..., :length, :]:  # one by one, to keep the copy small
            copy = layer[a].clone()
            layer[a] = layer[b]
            layer[b] = copy

    def view(self, layer: int, slots: slice, length: int) -> tuple[Tensor, Tensor]:
        """Views of the first `length` keys and values of some slots: (slots, kv_heads, length, D)."""
        keys, values = self.entries[layer, slots, :, :, :length].unbind(1)
        return keys, values


def zeros(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Zeros, never NaN: where neighbouring slots share a call, unwritten entries are read with a weight of 0.

    On a CPU they are NumPy's, whose pages occupy memory only once they are written.
    """
    if device.type != "cpu":
        return torch.zeros(shape, device=device, dtype=dtype)
    return torch.from_numpy(np.zeros(math.prod(shape) * dtype.itemsize, np.uint8)).view(dtype).view(shape)


def slot_bytes(config: Any, length: int, dtype: torch.dtype) -> int:
    """Bytes of one slot for `length` tokens in all layers; `config` is the text config."""
    token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * dtype.itemsize
    return (length + 1) * token
