"""RMS norm, and a variant that a CPU computes in few passes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RMSNorm(nn.Module):
    """Root mean square layer norm (Zhang and Sennrich, arXiv:1910.07467)."""

    def __init__(self, hidden: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, hidden) -> (N, hidden), normalised in fp32, in the dtype of the weight."""
        return self.weight * F.rms_norm(x.float(), self.weight.shape, eps=self.eps).to(self.weight.dtype)


class MirroredNorm(nn.Module):
    """An RMS norm as the layer norm of (x, -x), with mean 0 and the mean of x squared as its variance.

    On a CPU, PyTorch has one kernel for layer norm and nine for RMS norm, and in decoding the number of kernels
    dominates the time. `x` must have the weight's dtype.
    """

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        self.weight = nn.Parameter(norm.weight.detach().repeat(2, 1), requires_grad=False)
        self.signs = torch.tensor([[1.0], [-1.0]], dtype=self.weight.dtype)
        self.eps = norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, hidden) -> (N, hidden)"""
        return F.layer_norm(x[:, None] * self.signs, self.weight.shape, self.weight, None, self.eps)[:, 0]
