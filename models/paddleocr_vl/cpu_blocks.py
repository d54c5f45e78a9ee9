"""Weights of linear layers as whole numbers, and in blocks of outputs, as our own kernels for CPUs take them."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LARGEST = {7: 63, 8: 127, 16: 32767}  # values of weights with so many bits
LARGEST_NORM = 46000.0  # norm of an output's weights of 16 bits: nearly 2**15.5, as leaves as much for inputs
STEPS = 255  # between the smallest and the largest unsigned input
MIN_SCALE = 1e-12  # avoids division by zero
MULTIPLE = 16  # sizes of a weight in blocks are multiples of it
GROUP = 32  # inputs whose weights of 4 bits share a step and an offset
NIBBLE = 15  # largest number of 4 bits
ROOM = 0.999  # for rounding up to half a step of 15, so that 16 bits hold all
FOUR = 4  # products of 8 bits that one instruction of VNNI adds
BLOCK_ROWS = 256  # rows that are laid out together: their copies in fp32 stay near a core


@dataclass(frozen=True)
class Blocks:
    """A weight of whole numbers in blocks of outputs, as products take it. Sizes are rounded up to multiples of 16."""

    weight: Tensor  # (out / 16, in / together, 16, together) int8 or int16, or what `nibbles_of` makes
    scale: Tensor  # (out,) fp32, likewise: the step of each output
    norm: float  # the largest of an output's whole numbers
    sums: Tensor | None = None  # (out,) fp32, likewise: of each output's whole numbers, with four together


@torch.no_grad()
def nibbles_of(linear: nn.Linear) -> Blocks:
    """The weight of a layer in blocks, of 4 bits: a group's step times each, minus its offset, is one of 16 bits.

    (out / 16, in / 32, 320) uint8: of two pairs of inputs each, 32 bytes (16 outputs, 2 inputs), the first pair in the
    low halves; then steps and offsets of the outputs, (2, 16) int16.
    """
    (outputs, inputs), (missing, short) = linear.weight.shape, missing_sizes(linear, 4)
    blocks, groups = (outputs + missing) // MULTIPLE, (inputs + short) // GROUP
    weight, norm = torch.empty(blocks, groups, MULTIPLE * GROUP // 2 + 4 * MULTIPLE, dtype=torch.uint8), 0.0
    scale = torch.zeros(outputs + missing)
    for start in range(0, outputs, BLOCK_ROWS):
        whole, scales = rounded_weight(linear.weight[start : start + BLOCK_ROWS], 16)
        scale[start : start + len(scales)] = scales / ROOM
        whole = F.pad(whole * ROOM, (0, short, 0, -len(whole) % MULTIPLE)).unflatten(1, (groups, GROUP))
        least, most = whole.amin(dim=2, keepdim=True), whole.amax(dim=2, keepdim=True)
        step = ((most - least) / NIBBLE).round_().clamp_min_(1)
        offset = (-least).round_()
        few = ((whole + offset) / step).round_().clamp_(0, NIBBLE)
        norm = max(norm, float(torch.linalg.vector_norm((few * step - offset).flatten(1), dim=1).amax()))
        pairs = few.to(torch.uint8).view(-1, MULTIPLE, groups, GROUP // 4, 2, 2)  # outputs, then halves of a byte
        low, high = pairs.permute(4, 0, 2, 3, 1, 5).unbind(0)
        own = weight[start // MULTIPLE : start // MULTIPLE + len(low)]
        own[..., : MULTIPLE * GROUP // 2] = (low | high << 4).flatten(2)
        steps = torch.stack((step, offset)).to(torch.int16).view(2, -1, MULTIPLE, groups).permute(1, 3, 0, 2)
        own[..., MULTIPLE * GROUP // 2 :] = steps.contiguous().view(torch.uint8).flatten(2)
    return Blocks(weight, scale, norm)


def missing_sizes(linear: nn.Linear, bits: int) -> tuple[int, int]:
    """Outputs and inputs that a layer lacks to whole blocks of weights of so many bits."""
    return -linear.out_features % MULTIPLE, -linear.in_features % (GROUP if bits == 4 else MULTIPLE)


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
