"""The model's own CUDA kernels (kernels.cu), called with tensors.

They replace several launches of PyTorch by one each, and work from compute capability 6.0 up. Each has a plain path
in the module that uses it, which gives the same but for rounding.
"""

import math
from collections.abc import Mapping, Sequence
from ctypes import c_longlong
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

SOURCE = Path(__file__).with_suffix(".cu")
TYPES = {torch.float32: "Float", torch.float16: "Half", torch.bfloat16: "BFloat"}
THREADS = 128  # of a block
WARPS = THREADS // 32
ROWS = (1, 2, 4, 8)  # for which kernels of linear layers exist; for a number between them, the next larger one
KEYS = 256  # of a cache, that a block of `attend` reads at most
MIN_KEYS = 32  # and at least
BLOCKS = 256  # of `attend` that occupy a card, roughly


class Launcher(Protocol):
    """What launches compiled kernels: nvrtc.Module on a GPU."""

    def launch(self, name: str, grid: tuple[int, int, int], threads: int, arguments: Sequence[Any]) -> None: ...


def defines(text: Any, dtype: torch.dtype, residual_dtype: torch.dtype) -> Mapping[str, str | int]:
    """The macros of kernels.cu for a text config, the weights' dtype and that of the residual stream."""
    return {
        "WEIGHT": TYPES[dtype],
        "RESIDUAL": TYPES[residual_dtype],
        "HEADS": text.num_attention_heads,
        "KV_HEADS": text.num_key_value_heads,
        "HEAD_DIM": text.head_dim,
        "KEYS": KEYS,
    }


class Kernels:
    """Calls of the kernels, with tensors of the dtypes that they were compiled for."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    # --- linear layers of at most max(ROWS) rows ----------------------------------------------------------------------

    def normed_linear(self, x: Tensor, norm: Tensor, eps: float, weight: Tensor) -> Tensor:
        """x (N, hidden), of the residual stream -> (N, out): RMS norm, then a linear layer."""
        return self._product("normed_linear", x, weight, len(weight), 2, (norm, eps))

    def normed_gated(self, x: Tensor, norm: Tensor, eps: float, weight: Tensor) -> Tensor:
        """x (N, hidden), of the residual stream -> (N, out): RMS norm, then `SwiGLU` of weight (2 * out, hidden)."""
        return self._product("normed_gated", x, weight, len(weight) // 2, 1, (norm, eps))

    def linear_add(self, x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
        """x (N, in) and residual (N, out) -> residual plus a linear layer of x."""
        out = torch.empty_like(residual)
        arguments = (x, len(x), weight, *weight.shape, residual, out)
        self._launcher.launch(f"linear_add_{_rows(x)}", _grid(len(weight), WARPS), THREADS, arguments)
        return out

    def logits(self, x: Tensor, weight: Tensor) -> Tensor:
        """x (N, hidden) -> (N, vocabulary), fp32."""
        out = torch.empty(len(x), len(weight), device=x.device)
        arguments = (x, len(x), weight, *weight.shape, out)
        self._launcher.launch(f"logits_{_rows(x)}", _grid(len(weight), 4 * WARPS), THREADS, arguments)
        return out

    def _product(
        self, name: str, x: Tensor, weight: Tensor, features: int, of_warp: int, norm: tuple[Tensor, float]
    ) -> Tensor:
        out = torch.empty(len(x), features, dtype=weight.dtype, device=x.device)
        arguments = (x, len(x), *norm, weight, features, weight.shape[1], out)
        self._launcher.launch(f"{name}_{_rows(x)}", _grid(features, of_warp * WARPS), THREADS, arguments)
        return out

    # --- any number of rows -------------------------------------------------------------------------------------------

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> None:
        """`rope.rotate`: x (N, heads, D) with dense heads, cos and sin (N, 1, D)."""
        tokens, heads, head_dim = x.shape
        arguments = (x, c_longlong(x.stride(0)), c_longlong(tokens), heads, head_dim, cos, sin)
        self._launcher.launch("rotate", _grid(tokens * heads * head_dim // 2, THREADS), THREADS, arguments)

    def gated(self, x: Tensor) -> Tensor:
        """(N, 2 * out) -> (N, out): silu of the first half times the second."""
        size = x.shape[1] // 2
        out = torch.empty(len(x), size, dtype=x.dtype, device=x.device)
        self._launcher.launch("gated", _grid(out.numel(), THREADS), THREADS, (x, c_longlong(len(x)), size, out))
        return out

    def norm(self, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
        """x (N, hidden), of the residual stream -> (N, hidden): RMS norm, or layer norm where there is a bias."""
        out = torch.empty(x.shape, dtype=weight.dtype, device=x.device)
        self._launcher.launch("normalise", (len(x), 1, 1), THREADS, (x, weight, bias, eps, x.shape[1], out))
        return out

    # --- attention ----------------------------------------------------------------------------------------------------

    def attend(
        self, q: Tensor, kv: Tensor, cache: Tensor, slots: Tensor, positions: Tensor, length: int, idle: int
    ) -> Tensor:
        """Store new keys and values in the cache of one layer, then attend to each row's slot up to its position.

        q (B, heads, D) and kv (B, 2 * kv_heads, D): views of one tensor. cache (slots, 2, kv_heads, capacity, D).
        slots and positions (B,) int64; a row at position `idle` has no sequence, and an output of 0; all others are
        below `length`.
        """
        batch, heads, head_dim = q.shape
        kv_heads = cache.shape[2]
        keys = keys_of_part(batch * kv_heads, length)
        parts = math.ceil(length / keys)
        sums = torch.empty(batch, heads, parts, head_dim, device=q.device)
        scales = torch.empty(batch, heads, parts, 2, device=q.device)
        out = torch.empty(batch, heads, head_dim, dtype=q.dtype, device=q.device)
        strides = (c_longlong(stride) for stride in cache.stride()[:3])
        scale = head_dim**-0.5
        arguments = (q, kv, c_longlong(q.stride(0)), cache, *strides, slots, positions, idle, keys, scale, sums, scales)
        self._launcher.launch("attend", (parts, kv_heads, batch), THREADS, arguments)
        arguments = (sums, scales, positions, idle, keys, parts, out)
        self._launcher.launch("join_parts", (heads, batch, 1), head_dim, arguments)
        return out


def keys_of_part(groups: int, length: int) -> int:
    """Keys of a block, where `groups` rows and KV heads read up to `length` keys each: as few as occupy the card."""
    keys = MIN_KEYS
    while keys < KEYS and groups * math.ceil(length / keys) > BLOCKS:
        keys *= 2
    return keys


def _rows(x: Tensor) -> int:
    return next(rows for rows in ROWS if rows >= len(x))


def _grid(elements: int, of_block: int) -> tuple[int, int, int]:
    return math.ceil(elements / of_block), 1, 1
