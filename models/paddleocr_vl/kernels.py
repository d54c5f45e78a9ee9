"""The model's own CUDA kernels (kernels.cu), called with tensors.

They replace several launches of PyTorch by one each, and work from compute capability 6.0 up. Each has a plain path
in the module that uses it, which gives the same but for rounding.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from struct import Struct
from typing import Any, Protocol

import torch
from torch import Tensor

from models.paddleocr_vl.slices import parts
from models.protocol import Sliced

SOURCE = Path(__file__).with_suffix(".cu")
TYPES = {torch.float32: "Float", torch.float16: "Half", torch.bfloat16: "BFloat"}
ELEMENTS = {torch.float16: "f16", torch.bfloat16: "bf16"}  # as PTX calls them
TENSOR_CORES = {torch.float16: (7, 5), torch.bfloat16: (8, 0)}  # capabilities that have the instructions of kernels.cu
IMAGE_THREADS = 256  # a block's, of `attend_image`
IMAGE_QUERIES = IMAGE_THREADS // 32 * 16  # and its queries: 16 for each warp
THREADS = 128  # a block's, of all others
WARPS = THREADS // 32
ROWS = (1, 2, 4, 8)  # for which kernels of linear layers exist; for a number between them, the next larger one
KEYS = 256  # a block's, of `attend`, at most
MIN_KEYS = 32  # and at least
BLOCKS = 1024  # blocks of `attend` beyond which each gets more keys; fewer and larger ones were slower (H200)

# The parameters of each kernel, packed as C would: P pointer, q int64, i int, f float.
PARAMETERS = {
    name: Struct(parameters)
    for name, parameters in {
        "normed_linear": "PiPfPiiP",
        "normed_gated": "PiPfPiiP",
        "linear_add": "PiPiiPP",
        "logits": "PiPiiP",
        "rotate": "PqqiiPP",
        "gated": "PqiP",
        "normalise": "PPPPfiP",
        "attend": "PPqPqqqPPiifPP",
        "join_parts": "PPPiiiP",
        "attend_image": "PPPqqqiifP",
    }.items()
}


class Launcher(Protocol):
    """What launches compiled kernels: nvrtc.Module on a GPU."""

    def launch(self, name: str, grid: tuple[int, int, int], threads: int, parameters: bytes) -> None:
        """`parameters`: packed by the Struct of PARAMETERS."""


def defines(
    config: Any, dtype: torch.dtype, residual_dtype: torch.dtype, tensor_cores: bool = True
) -> Mapping[str, str | int]:
    """The macros of kernels.cu for a config, the weights' dtype and that of the residual stream.

    `tensor_cores`: see `has_tensor_cores`.
    """
    text, vision = config.text_config, config.vision_config
    image_dim = vision.hidden_size // vision.num_attention_heads
    images = tensor_cores and dtype in ELEMENTS and image_dim % 8 == 0
    of_images: dict[str, str | int] = {}
    if images:
        of_images = {"IMAGE_DIM": image_dim, "ELEMENTS": f'"{ELEMENTS[dtype]}"', "IMAGE_THREADS": IMAGE_THREADS}
    return of_images | {
        "WEIGHT": TYPES[dtype],
        "RESIDUAL": TYPES[residual_dtype],
        "HEADS": text.num_attention_heads,
        "KV_HEADS": text.num_key_value_heads,
        "HEAD_DIM": text.head_dim,
        "KEYS": KEYS,
        "THREADS": THREADS,
    }


class Kernels:
    """Calls of the kernels, with tensors of the dtypes that they were compiled for."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    # --- linear layers of at most max(ROWS) rows ----------------------------------------------------------------------

    def normed_linear(self, x: Tensor, norm: Tensor, eps: float, weight: Tensor) -> Tensor:
        """x (N, hidden), of the residual stream -> (N, out): RMS norm, then a linear layer."""
        out = torch.empty(len(x), len(weight), dtype=weight.dtype, device=x.device)
        self._launch_rows("normed_linear", x, 2, norm, eps, weight, *weight.shape, out)
        return out

    def normed_gated(self, x: Tensor, norm: Tensor, eps: float, weight: Tensor) -> Tensor:
        """x (N, hidden), of the residual stream -> (N, out): RMS norm, then `SwiGLU` of weight (2 * out, hidden)."""
        features = len(weight) // 2
        out = torch.empty(len(x), features, dtype=weight.dtype, device=x.device)
        self._launch_rows("normed_gated", x, 1, norm, eps, weight, features, weight.shape[1], out)
        return out

    def linear_add(self, x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
        """x (N, in) and residual (N, out) -> residual plus a linear layer of x."""
        out = torch.empty_like(residual)
        self._launch_rows("linear_add", x, 1, weight, *weight.shape, residual, out)
        return out

    def logits(self, x: Tensor, weight: Tensor) -> Tensor:
        """x (N, hidden) -> (N, vocabulary), fp32."""
        out = torch.empty(len(x), len(weight), device=x.device)
        self._launch_rows("logits", x, 4, weight, *weight.shape, out)
        return out

    def _launch_rows(self, name: str, x: Tensor, of_warp: int, *parameters: Any) -> None:
        """A kernel for the rows of x, each of whose warps computes `of_warp` features of the last parameter's."""
        assert x.is_contiguous()
        rows = next(rows for rows in ROWS if rows >= len(x))
        packed = _packed(name, x, len(x), *parameters)
        features = parameters[-1].shape[1]
        self._launcher.launch(f"{name}_{rows}", _grid(features, of_warp * WARPS), THREADS, packed)

    # --- any number of rows -------------------------------------------------------------------------------------------

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> None:
        """`rope.rotate`: x (N, heads, D) with dense heads, cos and sin (N, 1, D)."""
        tokens, heads, head_dim = x.shape
        grid = _grid(tokens * heads * head_dim // 2, THREADS)
        self._launch("rotate", grid, THREADS, x, x.stride(0), tokens, heads, head_dim, cos, sin)

    def gated(self, x: Tensor) -> Tensor:
        """(N, 2 * out) -> (N, out): silu of the first half times the second."""
        size = x.shape[1] // 2
        out = torch.empty(len(x), size, dtype=x.dtype, device=x.device)
        self._launch("gated", _grid(out.numel(), THREADS), THREADS, x, len(x), size, out)
        return out

    def norm(self, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, added: Tensor | None = None) -> Tensor:
        """x (N, hidden), of the residual stream -> (N, hidden): RMS norm, or layer norm where there is a bias.

        `added` (N, hidden), in the dtype of the weight, is first added to x in place.
        """
        out = torch.empty(x.shape, dtype=weight.dtype, device=x.device)
        self._launch("normalise", (len(x), 1, 1), THREADS, x, added, weight, bias, eps, x.shape[1], out)
        return out

    # --- attention ----------------------------------------------------------------------------------------------------

    def attend(
        self, q: Tensor, kv: Tensor, cache: Tensor, slots: Tensor, positions: Tensor, length: int, idle: int
    ) -> Tensor:
        """Store new keys and values in the cache of one layer, then attend to each row's slot up to its position.

        q (B, heads, D) and kv (B, 2 * kv_heads, D): views of one tensor. cache (slots, 2, kv_heads, capacity, D).
        slots and positions (B,) int64, contiguous; a row at position `idle` has no sequence, and an output of 0; all
        others are below `length`.
        """
        batch, heads, head_dim = q.shape
        kv_heads = cache.shape[2]
        keys = keys_of_part(batch * kv_heads, length)
        parts = math.ceil(length / keys)
        sums = torch.empty(batch, heads, parts, head_dim, device=q.device)
        scales = torch.empty(batch, heads, parts, 2, device=q.device)
        out = torch.empty(batch, heads, head_dim, dtype=q.dtype, device=q.device)
        row, (slot, half, head) = q.stride(0), cache.stride()[:3]
        where = (cache, slot, half, head, slots, positions, idle, keys)
        scale = head_dim**-0.5
        self._launch("attend", (parts, kv_heads, batch), THREADS, q, kv, row, *where, scale, sums, scales)
        self._launch("join_parts", (heads, batch, 1), head_dim, sums, scales, positions, idle, keys, parts, out)
        return out

    def attend_image(self, q: Tensor, k: Tensor, v: Tensor, queries: int | None) -> Sliced[Tensor]:
        """`attention.FullAttention` by tensor cores; q, k and v (B, H, L, D) have the same strides, and dense heads."""
        images, heads, length, head_dim = q.shape
        outputs = []
        for part in parts(length, queries):
            own = q[:, :, part]
            count = own.shape[2]
            out = torch.empty(images, count, heads, head_dim, dtype=q.dtype, device=q.device)
            grid = (math.ceil(count / IMAGE_QUERIES), heads, images)
            strides = (q.stride(2), q.stride(1), q.stride(0))
            self._launch("attend_image", grid, IMAGE_THREADS, own, k, v, *strides, count, length, head_dim**-0.5, out)
            outputs.append(out.transpose(1, 2))
            yield
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)

    def _launch(self, name: str, grid: tuple[int, int, int], threads: int, *parameters: Any) -> None:
        self._launcher.launch(name, grid, threads, _packed(name, *parameters))


def _packed(name: str, *parameters: Any) -> bytes:
    """Tensors become the addresses of their first elements, None a null pointer."""
    values = [p.data_ptr() if isinstance(p, Tensor) else 0 if p is None else p for p in parameters]
    return PARAMETERS[name].pack(*values)


def keys_of_part(groups: int, length: int) -> int:
    """Keys of a block, where `groups` rows and KV heads read up to `length` keys each: as few as occupy the card."""
    keys = MIN_KEYS
    while keys < KEYS and groups * math.ceil(length / keys) > BLOCKS:
        keys *= 2
    return keys


def _grid(elements: int, of_block: int) -> tuple[int, int, int]:
    return math.ceil(elements / of_block), 1, 1
