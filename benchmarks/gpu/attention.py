"""Ways to compute attention, side by side: the one that the engine takes, and those that it might take.

Every time is that of all layers by one CUDA graph, so launches do not count. Each layer has a cache of its own, as in
a real step, where the weights read between two layers leave nothing of it in the device's own cache.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.gpu.report import Section
from benchmarks.gpu.workplace import Workplace
from models.paddleocr_vl.attention import chunked_attention, decode_attention

HEADS, KV_HEADS, HEAD_DIM = 16, 2, 128  # the decoder's
VISION_HEADS, VISION_HEAD_DIM = 16, 72
LAYERS, VISION_LAYERS = 18, 27
LENGTHS = (512, 1024, 4096)
PATCHES = {"448": 1024, "1mp": 5184}
UNUSED = 10  # positions of the read length that are masked
PARTS = 8  # into which the keys are split
BACKENDS = {
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}


@dataclass(frozen=True)
class Step:
    """One decode step's attention: q (rows, HEADS, HEAD_DIM), and a cache (layers, rows, 2, KV_HEADS, L + 1, D)."""

    q: Tensor
    cache: Tensor
    mask: Tensor  # (rows, 1, 1, L)
    used: Tensor  # (rows,) int32: keys of each row
    row: Tensor  # (rows + 1,) int32: 0, 1, 2, ...

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


def _attend(q: Tensor, k: Tensor, v: Tensor, backend: SDPBackend) -> Tensor:
    with sdpa_kernel(backend):
        return scaled_dot_product_attention(q, k, v)


def _vision_figures(place: Workplace, work: Callable[[], Tensor]) -> dict[str, float]:
    return {"ms": place.clock.by_graph([work] * VISION_LAYERS)}


def tried(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures, or why a choice is none here."""
    try:
        return work()
    except (RuntimeError, NotImplementedError) as error:
        return {"impossible": str(error)[:200]}


def _step(place: Workplace, rows: int, length: int) -> Step:
    dtype = torch.bfloat16 if place.on_gpu else torch.float32
    layers = 2 if place.small else LAYERS
    q = torch.randn(rows, HEADS, HEAD_DIM, device=place.device, dtype=dtype)
    cache = torch.randn(layers, rows, 2, KV_HEADS, length + 1, HEAD_DIM, device=place.device, dtype=dtype)
    used = torch.full((rows,), length - UNUSED, device=place.device, dtype=torch.int32)
    beyond = torch.arange(length, device=place.device) >= used[:, None, None, None]
    mask = torch.zeros(beyond.shape, device=place.device, dtype=dtype).masked_fill_(beyond, float("-inf"))
    return Step(q, cache, mask, used, torch.arange(rows + 1, device=place.device, dtype=torch.int32))


@torch.inference_mode()
def _figures(place: Workplace, choice: Callable[[Step, int], Tensor], step: Step, exact: Tensor) -> dict[str, float]:
    difference = float((choice(step, 0).float().view_as(exact) - exact).abs().max())
    took = place.clock.by_graph([partial(choice, step, layer) for layer in range(len(step.cache))])
    return {"ms": took, "largest_difference": round(difference, 5)}


# --- the choices ------------------------------------------------------------------------------------------------------


def fused(step: Step, layer: int) -> Tensor:
    """PyTorch's kernel for a folded query axis, as `decode_attention` calls it."""
    return decode_attention(step.q, *step.kv(layer), step.mask)


def products(step: Step, layer: int) -> Tensor:
    """Two matrix products with a softmax between."""
    keys, values = step.kv(layer)
    scores = torch.matmul(step.q.unflatten(1, (KV_HEADS, -1)) * HEAD_DIM**-0.5, keys.transpose(2, 3)) + step.mask
    return torch.matmul(scores.softmax(-1, dtype=torch.float32).to(values.dtype), values).flatten(1, 2)


def split(step: Step, layer: int) -> Tensor:
    """The memory-efficient kernel over parts of the keys at once, whose outputs are weighed together."""
    keys, values = step.kv(layer)
    outputs = []
    for head in range(KV_HEADS):
        own_keys, own_values = (x[:, head].unflatten(1, (PARTS, -1)) for x in (keys, values))
        q = step.q.unflatten(1, (KV_HEADS, -1))[:, head, None].expand(-1, PARTS, -1, -1)
        mask = step.mask[:, 0, 0].unflatten(1, (PARTS, 1, -1)).expand(-1, -1, q.shape[2], -1)
        output, logsumexp, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
            q, own_keys, own_values, mask, True
        )
        weights = logsumexp[..., : q.shape[2]].softmax(1).to(output.dtype)
        outputs.append((output * weights[..., None]).sum(1))
    return torch.stack(outputs, 1).flatten(1, 2)


def flash(step: Step, layer: int) -> Tensor:
    """FlashAttention with each row's own number of keys, which it reads in place: the cache as one line of tokens."""
    cache = step.cache[layer]
    rows, line = len(cache), step.length + 1
    shape = (2 * KV_HEADS * line * (rows - 1) + step.length, KV_HEADS, HEAD_DIM)
    stride = (HEAD_DIM, line * HEAD_DIM, 1)
    starts = [cache.storage_offset(), cache.storage_offset() + KV_HEADS * line * HEAD_DIM]
    keys, values = (cache.as_strided(shape, stride, start) for start in starts)
    outputs = torch.ops.aten._flash_attention_forward(
        *(step.q, keys, values, step.row, step.row * (2 * KV_HEADS * line), 1, step.length, 0.0, False, False),
        seqused_k=step.used,
    )
    return outputs[0]


CHOICES = {"fused": fused, "products": products, "split": split, "flash": flash}
