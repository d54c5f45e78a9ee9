"""Linear layers for CPUs. Each stores its weight in a way that some CPU multiplies by fastest.

All take and give the dtype that the model computes in, whatever they store. models/paddleocr_vl/cpu_products.py lists
them.
"""

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.paddleocr_vl.cpu_blocks import (
    LARGEST,
    MIN_SCALE,
    MULTIPLE,
    STEPS,
    Blocks,
    largest_of_rows,
    missing_sizes,
    nibbles_of,
    rounded_weight,
)
from models.paddleocr_vl.linear import FusedLinear, SwiGLU, gated
from models.paddleocr_vl.norm import FusedNorm, RMSNorm

ROWS = 8  # oneDNN's hint for the layout; the layouts for 1 and 1024 rows were no faster at any size
TAKEN = torch.float32, torch.bfloat16  # dtypes that products in blocks take and give
ZERO = 128  # represents 0 in FBGEMM's unsigned inputs


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
        rounded, scale = rounded_weight(linear.weight, bits)
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
        rounded, self._scale = rounded_weight(linear.weight, bits)
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
    """A layer with a weight of 4, 8 or 16 bits by our own kernels, with the norm before it and what comes after it."""

    def __init__(
        self, linear: nn.Linear, dtype: torch.dtype, blocks: Blocks | None = None, *, bits: int, together: int = 2
    ) -> None:
        """`dtype`: of most inputs. `blocks`: the weight, if it is laid out already. `together`: see `blocks_of`.

        Raises RuntimeError where the kernels cannot be compiled, ImportError without llvmlite.
        """
        from models.paddleocr_vl.cpu_kernels import Multiply
        from models.paddleocr_vl.cpu_packing import blocks_of

        super().__init__(linear, bits)
        self._outputs = linear.out_features
        missing, self._short = missing_sizes(linear, bits)
        self._whole = not missing and not self._short and not (self.gates and self._outputs // 2 % MULTIPLE)
        self.blocks = blocks or (nibbles_of(linear) if bits == 4 else blocks_of(linear, bits, together))
        self.stored = self.blocks.weight.nbytes + self.blocks.scale.nbytes
        self._dtype, self._taken = dtype, dtype if dtype in TAKEN else torch.float32
        self._multiply = Multiply(
            self.blocks, None if self.bias is None else F.pad(self.bias, (0, missing)), self._taken
        )

    @property
    def can_be_recorded(self) -> bool:
        """Nothing but kernels computes its outputs from inputs of the dtype."""
        return self._whole and self._dtype in TAKEN

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in) -> (N, out), or half of it where it gates."""
        if self._whole:
            return self._multiply(self._given(x), gates=self.gates).to(x.dtype)
        y = self._multiply(F.pad(self._given(x), (0, self._short)))[:, : self._outputs]
        return (gated(y) if self.gates else y).to(x.dtype)

    def gelu(self, x: Tensor, approximate: str) -> Tensor:
        if not self._whole or approximate != "tanh":
            return super().gelu(x, approximate)
        return self._multiply(self._given(x), gelu=True).to(x.dtype)

    def added(self, x: Tensor, residual: Tensor) -> Tensor:
        if not self._whole:
            return super().added(x, residual)
        return self._multiply(self._given(x), residual=self._given(residual)).to(residual.dtype)

    def normed(self, norm: nn.Module, x: Tensor) -> Tensor:
        if not self._whole or not isinstance(norm, RMSNorm | FusedNorm):
            return super().normed(norm, x)
        return self._multiply(self._given(x), self._given(norm.weight), norm.eps, gates=self.gates).to(x.dtype)

    def _given(self, x: Tensor) -> Tensor:
        """A tensor as the kernel takes it."""
        return x.to(self._taken).contiguous()
