"""Layers for GPUs, by the project's own kernels: fewer launches, and a few rows at the speed of reading the weights."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.paddleocr_vl.kernels import Kernels
from models.paddleocr_vl.linear import FusedLinear, SwiGLU
from models.paddleocr_vl.norm import RMSNorm

if TYPE_CHECKING:
    from models.paddleocr_vl.model import PaddleOCRVL


class FewRows:
    """The most rows for which products by our own kernels are faster than the library's; shared by all layers."""

    def __init__(self, most: int) -> None:
        self.most = most


class KernelNorm(nn.Module):
    """An RMS norm, or a layer norm if it has a bias, of a residual stream that may be wider than its weights."""

    def __init__(self, norm: RMSNorm | nn.LayerNorm, kernels: Kernels) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, getattr(norm, "bias", None)
        self.eps = norm.eps
        self._kernels = kernels
        self._own = (self.weight, self.bias, self.eps)  # looking a parameter up takes long beside a launch

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, hidden) -> (N, hidden), in the dtype of the weight."""
        return self._kernels.norm(x, *self._own)

    def added(self, residual: Tensor, x: Tensor) -> Tensor:
        """The norm of `residual` (N, hidden), to which `x` is added in place."""
        return self._kernels.norm(residual, *self._own, x)


class KernelLinear(FusedLinear):
    """A linear layer; with few rows and no bias, by kernels that read each weight once."""

    def __init__(self, linear: nn.Linear, kernels: Kernels, few: FewRows) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self._own = (linear.weight, linear.bias)  # looking a parameter up takes long beside a launch
        self._transposed = linear.weight.T
        self._kernels, self._few = kernels, few
        self._normed = kernels.normed_linear  # for few rows

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in) -> (N, out)"""
        return F.linear(x, *self._own)

    def gelu(self, x: Tensor, approximate: str) -> Tensor:
        if self._own[1] is None or approximate != "tanh":
            return super().gelu(x, approximate)
        return torch._addmm_activation(self._own[1], x, self._transposed, use_gelu=True)

    def added(self, x: Tensor, residual: Tensor) -> Tensor:
        if self.bias is None and len(x) <= self._few.most:
            return self._kernels.linear_add(x, self.weight, residual)
        if self.bias is None and residual.dtype == x.dtype:
            return residual.addmm_(x, self._transposed)
        return residual.add_(self(x))

    def added_normed(self, x: Tensor, residual: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor]:
        if isinstance(norm, KernelNorm):
            return residual, norm.added(residual, self.forward(x))
        return super().added_normed(x, residual, norm)

    def normed(self, norm: nn.Module, x: Tensor) -> Tensor:
        if len(x) <= self._few.most and isinstance(norm, KernelNorm):
            return self._normed(x, norm.weight, norm.eps, self.weight)
        return super().normed(norm, x)


class KernelSwiGLU(KernelLinear):
    """`SwiGLU`, with the gating in one launch, or in the same as norm and product."""

    def __init__(self, linear: nn.Linear, kernels: Kernels, few: FewRows) -> None:
        super().__init__(linear, kernels, few)
        self._normed = kernels.normed_gated

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, hidden) -> (N, intermediate)"""
        return self._kernels.gated(super().forward(x))


class KernelHead(KernelLinear):
    """The output head, whose logits are fp32."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, hidden) -> (N, vocabulary)"""
        if len(x) <= self._few.most:
            return self._kernels.logits(x, self.weight)
        return super().forward(x).float()


def use_decoder_kernels(model: "PaddleOCRVL", kernels: Kernels, few: FewRows) -> Callable[[], None]:
    """Replace the layers of the decoder and the output head; the weights stay where they are.

    Returns what puts the replaced layers back.
    """
    replaced = _Replaced()
    replaced.layers([model.text, *model.text.layers], kernels, few)
    replaced.put(model, "lm_head", KernelHead(model.lm_head, kernels, few))
    return replaced.restore


def use_vision_kernels(model: "PaddleOCRVL", kernels: Kernels) -> Callable[[], None]:
    """The same for the layers of the vision tower, which always has many rows."""
    replaced = _Replaced()
    replaced.layers([model.visual, *model.visual.layers], kernels, FewRows(0))
    return replaced.restore


class _Replaced:
    """Layers that others stand in for, to be put back."""

    def __init__(self) -> None:
        self._old: list[tuple[nn.Module, str, Any]] = []

    def layers(self, parents: Sequence[nn.Module], kernels: Kernels, few: FewRows) -> None:
        for parent in parents:
            if hasattr(parent, "rotate"):
                self.put(parent, "rotate", kernels.rotate)
            for name, child in list(parent.named_children()):
                match child:
                    case RMSNorm() | nn.LayerNorm():
                        self.put(parent, name, KernelNorm(child, kernels))
                    case SwiGLU():
                        self.put(parent, name, KernelSwiGLU(child, kernels, few))
                    case nn.Linear():
                        self.put(parent, name, KernelLinear(child, kernels, few))

    def put(self, parent: nn.Module, name: str, new: Any) -> None:
        self._old.append((parent, name, getattr(parent, name)))
        setattr(parent, name, new)

    def restore(self) -> None:
        for parent, name, old in self._old:
            setattr(parent, name, old)
