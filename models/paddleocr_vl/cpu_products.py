"""Ways to store the weights of linear layers on a CPU, and the replacement of a model's layers by them.

engine/products.py measures which is fastest for which layer.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from models.paddleocr_vl.cpu_blocks import FOUR, Blocks
from models.paddleocr_vl.cpu_linear import (
    BlockLinear,
    HalfLinear,
    Int8Linear,
    OneDnnInt8Linear,
    PackedLinear,
    PackedSwiGLU,
)
from models.paddleocr_vl.linear import SwiGLU
from models.paddleocr_vl.norm import FusedNorm, RMSNorm

CHUNK_ROWS = 4096  # rows of a weight that are looked at together
HALF_ERROR = 2.0**-17  # largest relative error of a weight that fp16 holds, by its norm; rounding fp32's gives 2**-12


def packed(linear: nn.Linear, dtype: torch.dtype) -> nn.Module:
    weight = linear.weight.detach().to(dtype)
    if isinstance(linear, SwiGLU):
        return PackedSwiGLU(weight)
    return PackedLinear(weight, None if linear.bias is None else linear.bias.detach().to(dtype))


def plain(linear: nn.Linear, dtype: torch.dtype) -> nn.Module:
    return linear.to(dtype)


@dataclass(frozen=True)
class Product:
    """A way to store the weight of a layer and to multiply by it."""

    name: str
    bits: int | None  # bits of a stored weight, steps included; None: those of the dtype that the model computes in
    make: Callable[..., nn.Module]  # from the layer and the dtype; those in blocks also from the weight in blocks
    inexact: float = 0.0  # relative error of a product that it is given, at most, besides that of the dtype
    fits: Callable[[Tensor], bool] = lambda _weight: True  # whether a weight survives it
    in_blocks: bool = False  # weights are laid out by `blocks_of`


def holds_exactly(weight: Tensor) -> bool:
    """Whether fp16 holds a weight, but for what is far below all others: as it does those that bf16 holds."""
    lost = all_of = 0.0
    for part in weight.detach().split(CHUNK_ROWS):
        part = part.float()
        lost += float(torch.linalg.vector_norm(part - part.half().float())) ** 2
        all_of += float(torch.linalg.vector_norm(part)) ** 2
    return lost <= HALF_ERROR**2 * all_of  # false for inf, too


def is_in_range(weight: Tensor) -> bool:
    return float(weight.detach().abs().amax()) <= torch.finfo(torch.float16).max


PRODUCTS = {
    product.name: product
    for product in (
        Product("plain", None, plain),
        Product("packed", None, packed),
        Product("fp16", 16, lambda linear, _: HalfLinear(linear), fits=holds_exactly),
        Product("rounded to fp16", 16, lambda linear, _: HalfLinear(linear), fits=is_in_range),
        Product("int16 in blocks", 16, partial(BlockLinear, bits=16), inexact=0.001, in_blocks=True),
        Product("int8 in blocks", 8, partial(BlockLinear, bits=8), inexact=0.01, in_blocks=True),
        Product(
            "int8 in blocks, inputs too", 8, partial(BlockLinear, bits=8, together=FOUR), inexact=0.02, in_blocks=True
        ),
        Product("int4 in blocks", 5, partial(BlockLinear, bits=4), inexact=0.12, in_blocks=True),
        Product("int8", 8, lambda linear, _: Int8Linear(linear), inexact=0.02),
        Product("int8 by 7 bits", 8, lambda linear, _: Int8Linear(linear, 7), inexact=0.03),
        Product("int8 by oneDNN", 8, lambda linear, _: OneDnnInt8Linear(linear), inexact=0.02),
        Product("int8 by oneDNN, 7 bits", 8, lambda linear, _: OneDnnInt8Linear(linear, 7), inexact=0.03),
    )
}


@torch.inference_mode()
def works(product: Product, dtype: torch.dtype) -> bool:
    """Whether this CPU computes a product as exactly as it should, by trying it: some saturate, or do not exist."""
    layer, x = nn.Linear(64, 16, bias=False), torch.ones(2, 64, dtype=dtype)
    nn.init.ones_(layer.weight)
    x[:, 0] = 0  # so that 1 is the largest of 256 steps from it
    try:
        y = product.make(layer, dtype)(x)
    except (RuntimeError, ImportError):
        return False
    return torch.allclose(y.float(), torch.full((2, 16), 63.0), rtol=product.inexact + torch.finfo(dtype).eps)


def native(dtype: torch.dtype) -> Product:
    """The way of a dtype itself: packed where oneDNN computes in it natively."""
    packs = {torch.float32: torch.backends.mkldnn.is_available, torch.bfloat16: has_bf16}
    return PRODUCTS["packed" if dtype in packs and packs[dtype]() else "plain"]


def has_bf16() -> bool:
    """Whether oneDNN computes in bf16 here; elsewhere PyTorch emulates it, at a fifth of fp32's speed."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def kind_of(name: str) -> str:
    """The kind of the layer of this name: that of all layers like it, as "text.layers.*.qkv_proj"."""
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def pack(
    model: nn.Module,
    dtype: torch.dtype,
    chosen: Mapping[str, Product] | None = None,
    done: Callable[[Tensor], None] = lambda _weight: None,
    blocks: Mapping[str, Blocks] | None = None,
) -> None:
    """Replace the linear layers and RMS norms of a model that computes in `dtype` on a CPU by faster ones.

    `chosen` for kinds of layers; others, and weights that do not survive it, have the dtype's own. `done` is told of
    each weight that is not needed any more. The largest come first, while little else takes memory. `blocks`: weights
    of layers that have been laid out before.
    """
    own = native(dtype)
    modules = dict(model.named_modules())
    layers = {name: module for name, module in modules.items() if isinstance(module, nn.Linear | RMSNorm)}

    def replace(name: str) -> None:
        layer, (parent, _, child) = layers.pop(name), name.rpartition(".")
        del modules[name]
        product = (chosen or {}).get(kind_of(name), own)
        made: nn.Module
        if blocks and name in blocks:
            made = product.make(layer, dtype, blocks[name])
        else:
            made = _replacement(layer, dtype, product if product.fits(layer.weight) else own, own)
        setattr(modules[parent], child, made)
        if made is not layer:
            done(layer.weight)

    _for_each(replace, layers)


def layers_in_blocks(model: nn.Module, chosen: Mapping[str, Product]) -> dict[str, nn.Linear]:
    """The layers of a model whose weights are to lie in blocks."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and (product := chosen.get(kind_of(name))) and product.in_blocks
    }


def _for_each(work: Callable[[str], None], layers: Mapping[str, Any]) -> None:
    """On as many threads as PyTorch has, since FBGEMM lays a weight out on one. The largest come first."""
    names = sorted(layers, key=lambda name: layers[name].weight.numel(), reverse=True)
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for _ in threads.map(work, names):
            pass


def _replacement(layer: nn.Linear | RMSNorm, dtype: torch.dtype, product: Product, own: Product) -> nn.Module:
    if isinstance(layer, RMSNorm):
        return FusedNorm(layer.to(dtype)) if own.name == "packed" else layer
    return product.make(layer, dtype)
