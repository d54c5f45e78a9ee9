"""Linear layers for CPUs. Each stores its weight in a way that some CPU multiplies by fastest; PRODUCTS lists them.

All take and give the dtype that the model computes in, whatever they store. engine/products.py measures which is
fastest for which layer.
"""

import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.paddleocr_vl.linear import FusedLinear, SwiGLU, gated
from models.paddleocr_vl.norm import FusedNorm, RMSNorm

ROWS = 8  # oneDNN's hint for the layout; the layouts for 1 and 1024 rows were no faster at any size
LARGEST = {7: 63, 8: 127, 16: 32767}  # values of weights with so many bits
LARGEST_NORM = 46000.0  # of an output's weights of 16 bits: nearly 2**15.5, as leaves as much for inputs in 32 bits
INTEGERS = {8: torch.int8, 16: torch.int16}
ZERO = 128  # represents 0 in FBGEMM's unsigned inputs
STEPS = 255  # between the smallest and the largest unsigned input
MIN_SCALE = 1e-12  # avoids division by zero
CHUNK_ROWS = 4096  # rows of a weight that are looked at together
HALF_ERROR = 2.0**-17  # largest relative error of a weight that fp16 holds, by its norm; rounding fp32's gives 2**-12


class PackedLinear(FusedLinear):
    """A layer with the weight in oneDNN's blocked layout, in fp32 or bf16.

    Measured on two cores (AMD Zen 4, bf16): 1.3 to 2 times as fast as a plain weight for 1 to 8 rows, as in decoding,
    and 1.05 times for hundreds; in fp32 1.3 times or more for any number. GELU in the same kernel saves a pass over the
    widest tensor.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    def forward(self, x: Tensor, activation: str = "none", approximate: str = "") -> Tensor:
        """x: (N, in) -> (N, out), followed by an activation, such as "gelu" with its approximation."""
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, activation, [], approximate)

    def gelu(self, x: Tensor, approximate: str) -> Tensor:
        return self(x, "gelu", approximate)

    def added(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.with_other(x, residual, "add")

    def with_other(self, x: Tensor, other: Tensor, operation: str) -> Tensor:
        """The layer's output, then "add" or "mul" with `other` (N, out)."""
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self.weight, self.bias, operation)


class PackedSwiGLU(nn.Module):
    """`SwiGLU` as two products, each with its half of the gating in the same kernel."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.gate, self.up = (PackedLinear(half) for half in weight.chunk(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.up.with_other(x, self.gate(x, "swish"), "mul")


class StoredLinear(FusedLinear):
    """A layer whose weight is nothing that PyTorch sees as a tensor; `stored` counts its bytes."""

    def __init__(self, linear: nn.Linear, bits: int) -> None:
        super().__init__()
        self.bias = None if linear.bias is None else linear.bias.detach().float().clone()
        self.gates = isinstance(linear, SwiGLU)
        self.stored = linear.weight.numel() * bits // 8 + 4 * linear.out_features

    def product(self, x: Tensor) -> Tensor:
        """x: (N, in) fp32 -> (N, out) fp32"""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in) -> (N, out), or half of it where it gates."""
        y = self.product(x.float())
        return (gated(y) if self.gates else y).to(x.dtype)

    def added(self, x: Tensor, residual: Tensor) -> Tensor:
        total: Tensor = self(x).add_(residual)
        return total


class HalfLinear(StoredLinear):
    """A layer with fp16 weights and fp32 inputs and sums, by FBGEMM, which converts a weight as it reads it."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear, 16)
        self._packed = torch.ops.quantized.linear_prepack_fp16(linear.weight.detach().float(), self.bias)

    def product(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self._packed)
        return y


class Int8Linear(StoredLinear):
    """A layer with weights of up to 8 bits, one scale per output, and inputs of 8 bits, one scale per token, by FBGEMM.

    Without VNNI, pairs of products are summed in 16 bits, which holds them only if one side has 7 bits: `bits` of the
    weights. Weight-only int8 (`torch._weight_int8pack_mm`) was no faster than packed bf16 at one row, and slower at
    eight.
    """

    def __init__(self, linear: nn.Linear, bits: int = 8) -> None:
        super().__init__(linear, 8)
        rounded, scale = rounded_weight(linear, bits)
        zeros = torch.zeros(len(rounded), dtype=torch.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # quantised tensors may go in a later PyTorch; ours is pinned
            quantized = torch._make_per_channel_quantized_tensor(rounded.to(torch.int8), scale.double(), zeros, 0)
            self._packed = torch.ops.quantized.linear_prepack(quantized, None)

    def product(self, x: Tensor) -> Tensor:
        largest = largest_of_rows(x)
        # The kernel accepts one scale for all rows: each row is scaled to +-1, and its own scale applied to the output.
        y: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            x / largest, 1 / LARGEST[8], ZERO, self._packed
        )
        return y.mul_(largest) if self.bias is None else torch.addcmul(self.bias, y, largest)


class OneDnnInt8Linear(StoredLinear):
    """`Int8Linear` by oneDNN, faster for hundreds of rows; and where FBGEMM does not exist, for one row, too.

    Each row's inputs are rounded to 256 steps between its smallest and its largest, which for GELU's outputs are half
    as wide as those between plus and minus the largest. `bits` of the weights as there.
    """

    def __init__(self, linear: nn.Linear, bits: int = 8) -> None:
        super().__init__(linear, 8)
        rounded, self._scale = rounded_weight(linear, bits)
        self._sums = rounded.sum(dim=1) * self._scale
        self._packed: Tensor = torch.ops.onednn.qlinear_prepack(rounded.to(torch.int8), None)
        self._zero = torch.zeros(len(rounded), dtype=torch.int32)

    def product(self, x: Tensor) -> Tensor:
        least = x.amin(dim=-1, keepdim=True)
        step = x.amax(dim=-1, keepdim=True).sub_(least).mul_(1 / STEPS).clamp_min_(MIN_SCALE)
        # The cast truncates, so adding 0.5 rounds.
        rounded = torch.addcmul(0.5 - least / step, x, 1 / step).to(torch.uint8)
        y: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, 0, self._packed, self._scale, self._zero, None, 1.0, 0, torch.float32, "none", [], ""
        )
        y.mul_(step).addcmul_(least, self._sums)
        return y if self.bias is None else y.add_(self.bias)


class BlockLinear(StoredLinear):
    """A layer with a weight of 8 or 16 bits by our own kernels, with the norm before it and what comes after it."""

    def __init__(self, linear: nn.Linear, bits: int) -> None:
        """Raises RuntimeError where the kernels cannot be compiled, ImportError without llvmlite."""
        from models.paddleocr_vl.cpu_kernels import MULTIPLE, Multiply, in_blocks

        super().__init__(linear, bits)
        self._outputs = linear.out_features
        outputs, self._short = (-size % MULTIPLE for size in linear.weight.shape)
        self._whole = not outputs and not self._short and not (self.gates and self._outputs // 2 % MULTIPLE)
        rounded, scale = rounded_weight(linear, bits)
        norm = float(torch.linalg.vector_norm(rounded, dim=1).amax())
        weight = in_blocks(F.pad(rounded.to(INTEGERS[bits]), (0, self._short, 0, outputs)))
        bias = None if self.bias is None else F.pad(self.bias, (0, outputs))
        self._multiply = Multiply(weight, F.pad(scale, (0, outputs)), bias, norm)

    def product(self, x: Tensor) -> Tensor:
        if self._whole:
            return self._multiply(x.contiguous())
        return self._multiply(F.pad(x, (0, self._short)).contiguous())[:, : self._outputs]

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in) -> (N, out), or half of it where it gates."""
        if self.gates and self._whole:
            return self._multiply(x.float().contiguous(), gates=True).to(x.dtype)
        return super().forward(x)

    def gelu(self, x: Tensor, approximate: str) -> Tensor:
        if not self._whole or approximate != "tanh":
            return super().gelu(x, approximate)
        return self._multiply(x.float().contiguous(), gelu=True).to(x.dtype)

    def added(self, x: Tensor, residual: Tensor) -> Tensor:
        if not self._whole:
            return super().added(x, residual)
        return self._multiply(x.float().contiguous(), residual=residual.float().contiguous()).to(residual.dtype)

    def normed(self, norm: nn.Module, x: Tensor) -> Tensor:
        if not self._whole or not isinstance(norm, RMSNorm | FusedNorm):
            return super().normed(norm, x)
        weight = norm.weight.float()
        return self._multiply(x.float().contiguous(), weight, norm.eps, gates=self.gates).to(x.dtype)


def rounded_weight(linear: nn.Linear, bits: int) -> tuple[Tensor, Tensor]:
    """The weight of a layer in steps, whole numbers in fp32 (out, in), and the step of each output (out,).

    With 16 bits, the norm of an output's whole numbers is bounded, too.
    """
    weight = linear.weight.detach().float()
    scale = largest_of_rows(weight) / LARGEST[bits]
    if bits == 16:
        scale = torch.maximum(scale, torch.linalg.vector_norm(weight, dim=1, keepdim=True) / LARGEST_NORM)
    return (weight / scale).round_(), scale[:, 0]


def largest_of_rows(x: Tensor) -> Tensor:
    """Largest magnitude of each row of x (N, in), (N, 1); not 0.

    By two reductions, which took a tenth of the time of `vector_norm`'s one at 1024 rows.
    """
    return torch.maximum(x.amax(dim=-1, keepdim=True), -x.amin(dim=-1, keepdim=True)).clamp_min_(MIN_SCALE)


# --- the table --------------------------------------------------------------------------------------------------------


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
    bits: int | None  # bits of a stored weight; None: those of the dtype that the model computes in
    make: Callable[[nn.Linear, torch.dtype], nn.Module]
    inexact: float = 0.0  # relative error of a product that it is given, at most, besides that of the dtype
    fits: Callable[[Tensor], bool] = lambda _weight: True  # whether a weight survives it


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
        Product("int16 in blocks", 16, lambda linear, _: BlockLinear(linear, 16), inexact=0.001),
        Product("int8 in blocks", 8, lambda linear, _: BlockLinear(linear, 8), inexact=0.01),
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
) -> None:
    """Replace the linear layers and RMS norms of a model that computes in `dtype` on a CPU by faster ones.

    `chosen` for kinds of layers; others, and weights that do not survive it, have the dtype's own. `done` is told of
    each weight that is not needed any more. The largest come first, while little else takes memory.
    """
    own = native(dtype)
    modules = dict(model.named_modules())
    layers = {name: module for name, module in modules.items() if isinstance(module, nn.Linear | RMSNorm)}

    def replace(name: str) -> None:
        layer, (parent, _, child) = layers.pop(name), name.rpartition(".")
        del modules[name]
        product = (chosen or {}).get(kind_of(name), own)
        made = _replacement(layer, dtype, product if product.fits(layer.weight) else own, own)
        setattr(modules[parent], child, made)
        if made is not layer:
            done(layer.weight)

    names = sorted(layers, key=lambda name: layers[name].weight.numel(), reverse=True)
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:  # FBGEMM lays a weight out on one thread: 7 s for all
        for _ in threads.map(replace, names):
            pass


def _replacement(layer: nn.Linear | RMSNorm, dtype: torch.dtype, product: Product, own: Product) -> nn.Module:
    if isinstance(layer, RMSNorm):
        return FusedNorm(layer.to(dtype)) if own.name == "packed" else layer
    return product.make(layer, dtype)
