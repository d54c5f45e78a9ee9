"""Ways to compute attention, side by side: the one that the engine takes, and those that it might take.

Every time is that of all layers by one CUDA graph, so launches do not count. Each layer has a cache of its own, as in
a real step, where the weights read between two layers leave nothing of it in the device's own cache.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.gpu.report import Section
from benchmarks.gpu.workplace import Workplace
from models.paddleocr_vl.attention import (
    chunked_attention,
    decode_attention,
    decode_by_products,
    decode_flash,
    decode_split,
)
from models.paddleocr_vl.kernels import SOURCE, Kernels, defines
from models.paddleocr_vl.nvrtc import KernelError, Module
from models.paddleocr_vl.slices import run

HEADS, KV_HEADS, HEAD_DIM = 16, 2, 128  # the decoder's
VISION_HEADS, VISION_HEAD_DIM = 16, 72
LAYERS, VISION_LAYERS = 18, 27
LENGTHS = (512, 1024, 4096)
PATCHES = {"448": 1024, "1mp": 5184}
OWN_DIFFERENCE = 0.02  # normal values in bf16
UNUSED = 10  # positions of the read length that are masked
BACKENDS = {
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}


@dataclass(frozen=True)
class Step:
    """One decode step's attention over a cache (layers, rows, 2, KV_HEADS, L + 1, D)."""

    tokens: Tensor  # (rows, HEADS + 2 * KV_HEADS, HEAD_DIM): queries, newest keys and values, the first layer's
    cache: Tensor
    mask: Tensor  # (rows, 1, 1, L)
    used: Tensor  # (rows,) int32: keys of each row
    row: Tensor  # (rows + 1,) int32: 0, 1, 2, ...
    slots: Tensor  # (rows,) int64
    positions: Tensor  # (rows,) int64: of the newest keys

    @property
    def q(self) -> Tensor:
        """(rows, HEADS, HEAD_DIM)"""
        return self.tokens[:, :HEADS]

    @property
    def length(self) -> int:
        return self.cache.shape[4] - 1

    def kv(self, layer: int) -> tuple[Tensor, Tensor]:
        keys, values = self.cache[layer, :, :, :, : self.length].unbind(1)
        return keys, values


def decode_choices(place: Workplace, section: Section) -> None:
    """Attention of one new token by rows and length."""
    for rows in place.rows:
        for length in (128,) if place.small else LENGTHS:
            step = _step(place, rows, length)
            keys, values = (x.float() for x in step.kv(0))
            mask = step.mask.float().expand(-1, KV_HEADS, HEADS // KV_HEADS, -1)
            folded = step.q.float().unflatten(1, (KV_HEADS, -1))
            exact = chunked_attention(folded, keys, values, causal=False, mask=mask).flatten(1, 2)
            for name, choice in CHOICES.items():
                key = f"{rows} rows, {length} tokens, {name}"
                section.figures[key] = tried(partial(_figures, place, choice, step, exact))
            del step
            place.free()


def vision_choices(place: Workplace, section: Section) -> None:
    """Attention inside one image."""
    for name, patches in ({"small": 100} if place.small else PATCHES).items():
        dtype = torch.bfloat16 if place.on_gpu else torch.float32
        qkv = torch.randn(patches, 3 * VISION_HEADS, VISION_HEAD_DIM, device=place.device, dtype=dtype)
        q, k, v = (x[None].transpose(1, 2) for x in qkv.chunk(3, dim=1))
        for backend_name, backend in BACKENDS.items() if place.on_gpu else ():
            work = partial(_attend, q, k, v, backend)
            section.figures[f"vision {name}, {backend_name}"] = tried(partial(_vision_figures, place, work))
        if place.on_gpu:
            own = partial(_own, q, k, v)
            section.figures[f"vision {name}, own kernel"] = tried(partial(_vision_figures, place, own))
            exact = _attend(q.float(), k.float(), v.float(), SDPBackend.EFFICIENT_ATTENTION)
            difference = float((own().float() - exact).abs().max())
            section.at_most(f"vision {name}, own kernel: largest difference", difference, OWN_DIFFERENCE)


def _attend(q: Tensor, k: Tensor, v: Tensor, backend: SDPBackend) -> Tensor:
    with sdpa_kernel(backend):
        return scaled_dot_product_attention(q, k, v)


@torch.inference_mode()
def _own(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return run(kernels_of(q.dtype).attend_image(q, k, v, None))


def _vision_figures(place: Workplace, work: Callable[[], Tensor]) -> dict[str, float]:
    return {"ms": place.clock.by_graph([work] * VISION_LAYERS)}


def tried(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures, or why a choice is none here."""
    try:
        return work()
    except (RuntimeError, NotImplementedError, KernelError) as error:
        return {"impossible": str(error)[:200]}


def _step(place: Workplace, rows: int, length: int) -> Step:
    dtype = torch.bfloat16 if place.on_gpu else torch.float32
    layers = 2 if place.small else LAYERS
    q = torch.randn(rows, HEADS, HEAD_DIM, device=place.device, dtype=dtype)
    cache = torch.randn(layers, rows, 2, KV_HEADS, length + 1, HEAD_DIM, device=place.device, dtype=dtype)
    used = torch.full((rows,), length - UNUSED, device=place.device, dtype=torch.int32)
    beyond = torch.arange(length, device=place.device) >= used[:, None, None, None]
    mask = torch.zeros(beyond.shape, device=place.device, dtype=dtype).masked_fill_(beyond, float("-inf"))
    tokens = torch.cat((q, cache[0, :, :, :, length - UNUSED - 1].flatten(1, 2)), dim=1)
    row = torch.arange(rows + 1, device=place.device, dtype=torch.int32)
    return Step(tokens, cache, mask, used, row, row[:-1].long(), used.long() - 1)


@torch.inference_mode()
def _figures(place: Workplace, choice: Callable[[Step, int], Tensor], step: Step, exact: Tensor) -> dict[str, float]:
    difference = float((choice(step, 0).float().view_as(exact) - exact).abs().max())
    took = place.clock.by_graph([partial(choice, step, layer) for layer in range(len(step.cache))])
    return {"ms": took, "largest_difference": round(difference, 5)}


# --- the choices ------------------------------------------------------------------------------------------------------


def fused(step: Step, layer: int) -> Tensor:
    return decode_attention(step.q, *step.kv(layer), step.mask)


def products(step: Step, layer: int) -> Tensor:
    return decode_by_products(step.q, *step.kv(layer), step.mask)


def split(step: Step, layer: int) -> Tensor:
    return decode_split(step.q, *step.kv(layer), step.mask)


def flash(step: Step, layer: int) -> Tensor:
    keys, values = step.kv(layer)
    starts = step.row * (keys.stride(0) // HEAD_DIM)
    used = torch.cat((step.used, step.used[:1]))
    return decode_flash(step.q, keys, values, torch.stack((step.row, starts, used)))


def own(step: Step, layer: int) -> Tensor:
    """Our own kernel, which stores the newest key and value as well."""
    q, kv = step.tokens[:, :HEADS], step.tokens[:, HEADS:]
    cache = step.cache[layer]
    return kernels_of(q.dtype).attend(q, kv, cache, step.slots, step.positions, step.length, step.length)


@cache
def kernels_of(dtype: torch.dtype) -> Kernels:
    text = SimpleNamespace(num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM)
    vision = SimpleNamespace(hidden_size=VISION_HEADS * VISION_HEAD_DIM, num_attention_heads=VISION_HEADS)
    config = SimpleNamespace(text_config=text, vision_config=vision)
    return Kernels(Module(SOURCE.read_text(encoding="utf-8"), defines(config, dtype, dtype)))


CHOICES = {"fused": fused, "products": products, "split": split, "flash": flash, "own kernel": own}
