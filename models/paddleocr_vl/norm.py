"""RMS norm, and a variant for CPUs."""

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


class FusedNorm(nn.Module):
    """An RMS norm in one call, rounded once, for a CPU: in decoding the number of calls dominates the time.

    `x` must have the weight's dtype. As a layer norm of (x, -x), which is one kernel, eight rows took three times as
    long: that kernel wakes a thread for every row.
    """

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        self.weight = nn.Parameter(norm.weight.detach(), requires_grad=False)
        self.eps = norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, hidden) -> (N, hidden)"""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
