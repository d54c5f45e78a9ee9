"""Linear layers that compute what surrounds them too; those for CPUs have weights in oneDNN's blocked layout.

Measured on two cores (AMD Zen 4, bf16): 1.3 to 2 times as fast as plain weights for 1 to 8 rows, as in decoding, and
1.05 times for hundreds; in fp32 1.3 times or more for any number. GELU in the same kernel saves a pass over the widest
tensor.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.paddleocr_vl.norm import MirroredNorm, RMSNorm

INT8 = 127  # the largest value
ZERO = 128  # represents 0 in the kernel's unsigned inputs
MIN_SCALE = 1e-12  # avoids division by zero
ROWS = 8  # oneDNN's hint for the layout; the layouts for 1 and 1024 rows were no faster at any size


class SwiGLU(nn.Linear):
    """The gated half of a feed-forward network, silu(gate) * up, both from one product (Shazeer, arXiv:2002.05202)."""

    def __init__(self, hidden: int, intermediate: int) -> None:
        super().__init__(hidden, 2 * intermediate, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, hidden) -> (N, intermediate)"""
        return gated(super().forward(x))


def gated(x: Tensor) -> Tensor:
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up


class FusedLinear(nn.Module):
    """Replacement for an `nn.Linear` that computes what surrounds it too, in fewer passes or launches."""

    def gelu(self, x: Tensor, approximate: str) -> Tensor:
        """GELU of the layer, (N, out); `approximate` as PyTorch has it."""
        return F.gelu(self(x), approximate=approximate)

    def added(self, x: Tensor, residual: Tensor) -> Tensor:
        """`residual` (N, out) plus the layer; it may be changed in place."""
        outputs: Tensor = residual + self(x)
        return outputs

    def added_normed(self, x: Tensor, residual: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor]:
        """`added`, and the norm of it."""
        total = self.added(x, residual)
        return total, norm(total)

    def normed(self, norm: nn.Module, x: Tensor) -> Tensor:
        """The layer of the normalised x."""
        outputs: Tensor = self(norm(x))
        return outputs


class PackedLinear(FusedLinear):
    """A layer that holds only the packed weight. For inference on CPUs."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = bias

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

    def __init__(self, linear: SwiGLU) -> None:
        super().__init__()
        self.gate, self.up = (PackedLinear(half) for half in linear.weight.chunk(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.up.with_other(x, self.gate(x, "swish"), "mul")


class Int8Linear(nn.Module):
    """A linear layer with 8-bit weights, one scale per output, and inputs rounded to 8 bits, one scale per token.

    Weight-only int8 (`torch._weight_int8pack_mm`) was no faster than packed bf16 at one row and slower at eight; with
    both in 8 bits a product takes 0.6 of the time at one row, 0.8 at eight and half at hundreds (AMD Zen 4), and a
    whole decode step 0.73 and 0.85.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        assert linear.bias is None  # the decoder has none
        weight = linear.weight.detach().float()
        self.dtype: torch.dtype = linear.weight.dtype
        self.scale: Tensor = weight.abs().amax(dim=1).clamp_min(MIN_SCALE) / INT8
        rounded = (weight / self.scale[:, None]).round().to(torch.int8)
        packed: Tensor = torch.ops.onednn.qlinear_prepack(rounded, None)
        self.weight: Tensor = nn.Parameter(packed, requires_grad=False)
        self.zero: Tensor = torch.zeros(len(weight), dtype=torch.int32)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in) -> (N, out)"""
        largest = torch.linalg.vector_norm(x, torch.inf, dim=-1, keepdim=True, dtype=torch.float32).clamp_min_(
            MIN_SCALE
        )
        # The cast truncates, so adding 0.5 rounds.
        rounded = (x * (INT8 / largest)).add_(ZERO + 0.5).to(torch.uint8)
        # The kernel accepts one scale for all rows: each row is scaled to +-1, and its own scale applied to the output.
        y = torch.ops.onednn.qlinear_pointwise(
            rounded, 1 / INT8, ZERO, self.weight, self.scale, self.zero, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return (y * largest).to(self.dtype)


class Int8SwiGLU(Int8Linear):
    """`SwiGLU` as an `Int8Linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return gated(super().forward(x))


def linear_gelu(linear: nn.Module, x: Tensor, approximate: str) -> Tensor:
    """GELU of a linear layer, fused or not."""
    if isinstance(linear, FusedLinear):
        return linear.gelu(x, approximate)
    return F.gelu(linear(x), approximate=approximate)


def linear_add(linear: nn.Module, x: Tensor, residual: Tensor) -> Tensor:
    """`residual` plus a linear layer, fused or not; a fused one may change `residual` in place."""
    if isinstance(linear, FusedLinear):
        return linear.added(x, residual)
    outputs: Tensor = residual + linear(x)
    return outputs


def linear_add_norm(linear: nn.Module, x: Tensor, residual: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """`linear_add`, and the norm of it."""
    if isinstance(linear, FusedLinear):
        return linear.added_normed(x, residual, norm)
    total = linear_add(linear, x, residual)
    return total, norm(total)


def normed_linear(norm: nn.Module, linear: nn.Module, x: Tensor) -> Tensor:
    """A linear layer of the normalised x, fused or not."""
    if isinstance(linear, FusedLinear):
        return linear.normed(norm, x)
    outputs: Tensor = linear(norm(x))
    return outputs


def pack(model: nn.Module, *, int8: bool = False) -> None:
    """Replace each layer on a CPU that has a faster variant, for dtypes that oneDNN computes natively there."""
    if not torch.backends.mkldnn.is_available():
        return
    dtypes = {torch.float32} | ({torch.bfloat16} if torch.ops.mkldnn._is_mkldnn_bf16_supported() else set())
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear | RMSNorm) and child.weight.device.type == "cpu":
                setattr(parent, name, packed(child, int8, child.weight.dtype in dtypes))


def packed(layer: nn.Linear | RMSNorm, int8: bool, supported: bool) -> nn.Module:
    """The faster layer, or the layer itself if there is none."""
    if int8 and isinstance(layer, nn.Linear):
        return Int8SwiGLU(layer) if isinstance(layer, SwiGLU) else Int8Linear(layer)
    if not supported:
        return layer
    match layer:
        case RMSNorm():
            return MirroredNorm(layer)
        case SwiGLU():
            return PackedSwiGLU(layer)
        case _:
            return PackedLinear(layer.weight, layer.bias)


def int8_works(device: torch.device) -> bool:
    """Whether 8-bit products are exact here, determined by trying one: without VNNI, pairs of them saturate at 16 bits.

    PyTorch reports the VNNI support of the CPU, regardless of what ONEDNN_MAX_CPU_ISA lets oneDNN use.
    """
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    ones, x = nn.Linear(64, 16, bias=False), torch.ones(1, 64)
    nn.init.ones_(ones.weight)
    return torch.allclose(Int8Linear(ones)(x), ones(x), rtol=0.01)
