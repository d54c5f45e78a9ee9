"""Linear layers that compute what surrounds them too, so that a layer may be replaced by a faster one."""

from torch import Tensor, nn
from torch.nn import functional as F


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
