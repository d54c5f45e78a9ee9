"""Weights of linear layers as whole numbers, and in blocks of outputs, as our own kernels for CPUs take them."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LARGEST = {7: 63, 8: 127, 16: 32767}  # values of weights with so many bits
LARGEST_NORM = 46000.0  # norm of an output's weights of 16 bits: nearly 2**15.5, as leaves as much for inputs
INTEGERS = {8: torch.int8, 16: torch.int16, 32: torch.int32}  # by their bits
STEPS = 255  # between the smallest and the largest unsigned input
MIN_SCALE = 1e-12  # avoids division by zero
MULTIPLE = 16  # sizes of a weight in blocks are multiples of it
FOUR = 4  # products of 8 bits that one instruction of VNNI adds
BLOCK_ROWS = 256  # rows that are laid out together: their copies in fp32 stay near a core


@dataclass(frozen=True)
class Blocks:
    """A weight of whole numbers in blocks of outputs, as products take it."""

    weight: Tensor  # (out / 16, in / together, 16, together) int8 or int16, sizes being rounded up to multiples of 16
    scale: Tensor  # (out,) fp32, likewise: the step of each output
    norm: float  # the largest of an output's whole numbers
    sums: Tensor | None = None  # (out,) fp32, likewise: of each output's whole numbers, with four together


@torch.no_grad()
def blocks_of(linear: nn.Linear, bits: int, together: int = 2) -> Blocks:
    """The weight of a layer in blocks; `together`: its inputs that one instruction multiplies for each output."""
    (outputs, inputs), (missing, short) = linear.weight.shape, missing_sizes(linear)
    integer, group = INTEGERS[bits], INTEGERS[bits * together]
    blocks, groups = (outputs + missing) // MULTIPLE, (inputs + short) // together
    weight, norm = torch.empty(blocks, groups, MULTIPLE, dtype=group), 0.0
    scale, sums = torch.zeros(2, outputs + missing).unbind()
    for start in range(0, outputs, BLOCK_ROWS):
        rounded, steps = rounded_weight(linear.weight[start : start + BLOCK_ROWS], bits)
        scale[start : start + len(steps)] = steps
        sums[start : start + len(steps)] = rounded.sum(dim=1)
        norm = max(norm, float(torch.linalg.vector_norm(rounded, dim=1).amax()))
        rows = F.pad(rounded.to(integer), (0, short, 0, -len(rounded) % MULTIPLE))
        own = weight[start // MULTIPLE : (start + len(rows)) // MULTIPLE]
        own.copy_(rows.view(group).view(len(own), MULTIPLE, groups).transpose(1, 2))
    whole = weight.view(integer).view(blocks, groups, MULTIPLE, together)
    return Blocks(whole, scale, norm, sums if together == FOUR else None)


def missing_sizes(linear: nn.Linear) -> tuple[int, int]:
    """Outputs and inputs that a layer lacks to multiples of 16."""
    return -linear.out_features % MULTIPLE, -linear.in_features % MULTIPLE


def rounded_weight(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """A weight in steps, whole numbers in fp32 (out, in), and the step of each output (out,).

    With 16 bits, the norm of an output's whole numbers is bounded, too.
    """
    weight = weight.detach().float()
    scale = largest_of_rows(weight) / LARGEST[bits]
    if bits == 16:
        scale = torch.maximum(scale, torch.linalg.vector_norm(weight, dim=1, keepdim=True) / LARGEST_NORM)
    return (weight / scale).round_(), scale[:, 0]


def largest_of_rows(x: Tensor) -> Tensor:
    """Largest magnitude of each row of x (N, in), (N, 1); not 0.

    By two reductions, which took a tenth of the time of `vector_norm`'s one at 1024 rows.
    """
    return torch.maximum(x.amax(dim=-1, keepdim=True), -x.amin(dim=-1, keepdim=True)).clamp_min_(MIN_SCALE)
