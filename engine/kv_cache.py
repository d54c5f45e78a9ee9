"""The cache tensors: one contiguous stretch of keys and values for each slot, in each layer."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor


class KVCache:
    def __init__(self, config: Any, slots: int, length: int, device: torch.device, dtype: torch.dtype) -> None:
        """`config` is the text config; `length` tokens fit in a slot, behind which one place is nobody's."""
        self.scratch = length  # where rows of a batch that stand for nobody may write
        shape = (config.num_hidden_layers, slots, 2, config.num_key_value_heads, length + 1, config.head_dim)
        self.entries = zeros(shape, device, dtype)
        self._heads = self.entries.flatten(2, 3)  # of keys, then of values

    def write_prompt(self, layer: int, slot: int, start: int, kv: Tensor) -> tuple[Tensor, Tensor]:
        """Store a prompt's last L tokens, keys and then values (L, 2 * kv_heads, D), behind its first `start`.

        Returns views of the keys and values of the whole prompt, (kv_heads, start + L, D).
        """
        stop = start + len(kv)
        self._heads[layer, slot, :, start:stop].copy_(kv.transpose(0, 1))
        keys, values = self.entries[layer, slot, :, :, :stop]
        return keys, values

    def append(self, layer: int, slots: Tensor, at: Tensor, kv: Tensor) -> None:
        """Store one token for each of B slots: `slots` and `at` (B,), keys and then values (B, 2 * kv_heads, D)."""
        self._heads[layer][slots, :, at] = kv

    def clear(self, slot: int, places: slice) -> None:
        """Make some entries finite again after a computation that was not."""
        self.entries[:, slot, :, :, places] = 0

    def exchange(self, a: int, b: int, length: int) -> None:
        """Have two slots change places, as far as the first `length` entries of each."""
        for layer in self.entries[..., :length, :]:  # one by one, for what has to be kept meanwhile
            kept = layer[a].clone()
            layer[a] = layer[b]
            layer[b] = kept

    def read(self, layer: int, slots: slice, length: int) -> tuple[Tensor, Tensor]:
        """Views of the first `length` keys and values of some slots: (slots, kv_heads, length, D)."""
        keys, values = self.entries[layer, slots, :, :, :length].unbind(1)
        return keys, values


def zeros(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Entries that nothing was written to are read with a weight of 0, where neighbours share a call: so never NaN.

    On a CPU, NumPy's memory: its pages are taken only when written.
    """
    if device.type != "cpu":
        return torch.zeros(shape, device=device, dtype=dtype)
    return torch.from_numpy(np.zeros(math.prod(shape) * dtype.itemsize, np.uint8)).view(dtype).view(shape)


def slot_bytes(config: Any, length: int, dtype: torch.dtype) -> int:
    """Of one slot for `length` tokens in all layers; `config` is the text config."""
    token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * dtype.itemsize
    return (length + 1) * token
