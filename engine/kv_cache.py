"""The cache tensors: one contiguous stretch of keys and values for each slot, in each layer."""

from typing import Any

import torch
from torch import Tensor


class KVCache:
    def __init__(self, config: Any, slots: int, length: int, device: torch.device, dtype: torch.dtype) -> None:
        """`config` is the text config; `length` tokens fit in a slot."""
        shape = (config.num_hidden_layers, slots, config.num_key_value_heads, length, config.head_dim)
        self.keys = torch.empty(shape, device=device, dtype=dtype)  # pages are touched only when written
        self.values = torch.empty(shape, device=device, dtype=dtype)

    def write_prompt(self, layer: int, slot: int, start: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store keys and values of a prompt's last L tokens, (L, kv_heads, D), behind its first `start`.

        Returns views of those of the whole prompt, (kv_heads, start + L, D).
        """
        views = self.read(layer, slot, start + len(keys))
        for view, new in zip(views, (keys, values), strict=True):
            view[:, start:].copy_(new.transpose(0, 1))
        return views

    def append(self, layer: int, slots: Tensor, at: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store one token for each of B slots: `slots` and `at` (B,), keys and values (B, kv_heads, D)."""
        self.keys[layer][slots, :, at] = keys
        self.values[layer][slots, :, at] = values

    def read(self, layer: int, slot: int, length: int) -> tuple[Tensor, Tensor]:
        """Views of the first `length` keys and values of a slot: (kv_heads, length, D)."""
        return self.keys[layer, slot, :, :length], self.values[layer, slot, :, :length]


def bytes_per_token(config: Any, dtype: torch.dtype) -> int:
    """Cache bytes of one token in all layers; `config` is the text config."""
    return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * dtype.itemsize
