"""Rotary position embeddings: axial 2-D for the vision tower, multimodal 3-D (M-RoPE) for the decoder.

Reference: transformers' `modeling_paddleocr_vl.py` (`PaddleOCRVisionRotaryEmbedding`, `PaddleOCRRotaryEmbedding`,
`get_rope_index`). Both rotate the whole head ("rotate half" layout).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from models.protocol import Grid

Rotate = Callable[[Tensor, Tensor, Tensor], None]
"""`rotate`, or what does the same."""


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Rotate `x` (N, heads, D) in place, in fp32, by angles as `cosines_sines` returns them."""
    x.copy_(torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin))


def cosines_sines(angles: Tensor) -> tuple[Tensor, Tensor]:
    """(N, D / 2) -> twice (N, 1, D): both halves of a head have the same angles, the first with negated sines."""
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=-1)[:, None], torch.cat((-sin, sin), dim=-1)[:, None]


def axial_rope(grids: Sequence[Grid], head_dim: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (N, 1, head_dim), fp32, of all patches of `grids` in raster order."""
    inv_freq = 1.0 / theta ** (torch.arange(0, head_dim // 2, 2, device=device).float() / (head_dim // 2))
    positions = {}
    for rows, columns in set(grids):
        row = torch.arange(rows, device=device).repeat_interleave(columns)
        column = torch.arange(columns, device=device).repeat(rows)
        positions[rows, columns] = torch.stack((row, column), dim=1)
    every = torch.cat([positions[grid] for grid in grids])
    angles = (every[:, :, None] * inv_freq).flatten(1)  # (N, head_dim / 2): rows, then columns
    return cosines_sines(angles)


def prompt_positions(
    input_ids: Sequence[int], grids: Sequence[Grid], image_token_id: int, merge: int
) -> tuple[Tensor, int]:
    """M-RoPE positions of a prompt: (3, L) int64 (time, row, column), and the position of the first answer token.

    Text counts on all three axes. An image has one time, and the rows and columns of its merged grid; the text after it
    continues after its longer side.
    """
    remaining = list(grids)
    positions = torch.empty((3, len(input_ids)), dtype=torch.long)
    index = position = 0
    while index < len(input_ids):
        if input_ids[index] != image_token_id:
            positions[:, index] = position
            index, position = index + 1, position + 1
            continue
        if not remaining:
            raise ValueError("the prompt has more image tokens than its images")
        rows, columns = (side // merge for side in remaining.pop(0))
        count = rows * columns
        positions[0, index : index + count] = position
        positions[1, index : index + count] = position + torch.arange(rows).repeat_interleave(columns)
        positions[2, index : index + count] = position + torch.arange(columns).repeat(rows)
        index, position = index + count, position + max(rows, columns)
    if remaining:
        raise ValueError("the prompt has fewer image tokens than its images")
    return positions, position


def axis_of_frequency(sections: Sequence[int]) -> Tensor:
    """(D / 2,) int64: frequency section i belongs to axis i modulo 3."""
    return (torch.arange(len(sections)) % 3).repeat_interleave(torch.tensor(sections))


def multimodal_rope(positions: Tensor, inv_freq: Tensor, axis_of: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines (N, 1, D), fp32, of `positions` (3, N), all on one device; `axis_of` is `axis_of_frequency`."""
    return cosines_sines(positions.T[:, axis_of] * inv_freq)
