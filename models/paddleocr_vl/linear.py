"""Linear layers as a CPU likes them: weights in oneDNN's own blocked layout, made once after loading.

Measured on two cores (AMD Zen 4, bf16): 1.3 to 2 times as fast as plain weights for 1 to 8 rows, where decoding is, and
1.05 times for hundreds; in fp32 1.3 times and more for all. GELU in the same kernel saves a pass over the widest
tensor.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INT8 = 127  # the largest value
SMALLEST = 1e-12  # scale, so that zeros can be divided by it
ROWS = 8  # oneDNN's hint for the layout; the layouts for 1 and 1024 rows were no faster at any size


class PackedLinear(nn.Module):
    """Takes the place of an `nn.Linear`, whose plain weight it does not keep. CPU only, for inference only."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor, gelu: str | None = None) -> Tensor:
        """x: (N, in) -> (N, out); with `gelu` ("none" or "tanh"), the activation of that approximation behind it."""
        activation = "none" if gelu is None else "gelu"
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, activation, [], gelu or "")


class Int8Linear(nn.Module):
    """Weights in 8 bits with a scale for each output, inputs rounded to 8 bits with a scale for each token.

    Weight-only int8 (`torch._weight_int8pack_mm`) was no faster than packed bf16 at one row and slower at eight; with
    both in 8 bits a product takes 0.6 of the time at one row, 0.8 at eight and half at hundreds (AMD Zen 4).
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        assert linear.bias is None  # the decoder has none
        weight = linear.weight.detach().float()
        self.dtype: torch.dtype = linear.weight.dtype
        self.scale: Tensor = weight.abs().amax(dim=1).clamp_min(SMALLEST) / INT8
        rounded = (weight / self.scale[:, None]).round().to(torch.int8)
        packed: Tensor = torch.ops.onednn.qlinear_prepack(rounded, None)
        self.weight: Tensor = nn.Parameter(packed, requires_grad=False)
        self.zero: Tensor = torch.zeros(len(weight), dtype=torch.int32)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in) -> (N, out)"""
        reach = x.abs().amax(dim=-1, keepdim=True).float().clamp_min(SMALLEST)
        rounded = (x.float() * (INT8 / reach)).round_().add_(128).to(torch.uint8)
        # One scale for all rows is what the kernel takes: each row is scaled to +-1 and its own put back behind.
        y = torch.ops.onednn.qlinear_pointwise(
            rounded, 1 / INT8, 128, self.weight, self.scale, self.zero, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return (y * reach).to(self.dtype)


def linear_gelu(linear: nn.Module, x: Tensor, approximate: str) -> Tensor:
    """GELU of a linear layer, packed or not."""
    if isinstance(linear, PackedLinear):
        return linear(x, approximate)
    return F.gelu(linear(x), approximate=approximate)


def pack(model: nn.Module, *, int8: bool = False) -> None:
    """Pack every linear layer of a model that can be: on a CPU, in a dtype that oneDNN computes in there."""
    if not torch.backends.mkldnn.is_available():
        return
    dtypes = {torch.float32} | ({torch.bfloat16} if torch.ops.mkldnn._is_mkldnn_bf16_supported() else set())
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if not isinstance(child, nn.Linear) or child.weight.device.type != "cpu":
                continue
            if int8:
                setattr(parent, name, Int8Linear(child))
            elif child.weight.dtype in dtypes:
                setattr(parent, name, PackedLinear(child))


def int8_works(device: torch.device) -> bool:
    """Without VNNI, a CPU's products of 8 bits overflow."""
    return device.type == "cpu" and torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported()
