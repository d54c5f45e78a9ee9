"""RMS norm, and how a CPU computes it in few passes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RMSNorm(nn.Module):
    def __init__(self, hidden: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalised in fp32; the result has the weight's dtype, whatever the residual stream has."""
        return self.weight * F.rms_norm(x.float(), self.weight.shape, eps=self.eps).to(self.weight.dtype)


class MirroredNorm(nn.Module):
    """An RMS norm as the layer norm of (x, -x), whose mean is 0 and whose variance is the mean of x squared.

    PyTorch has one kernel for layer norm on a CPU and nine for RMS norm, and in decoding it is their number that takes
    the time. `x` must have the weight's dtype.
    """

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        self.weight = nn.Parameter(norm.weight.detach().repeat(2, 1), requires_grad=False)
        self.signs = torch.tensor([[1.0], [-1.0]], dtype=self.weight.dtype)
        self.eps = norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, hidden) -> (N, hidden)"""
        return F.layer_norm(x[:, None] * self.signs, self.weight.shape, self.weight, None, self.eps)[:, 0]
