"""The vision tower (SigLIP, native resolution) and the projector: pixels -> one feature per 28x28 pixels.

Tokens of all images of a batch are concatenated; only attention and positions know where one image ends. The residual
stream keeps its given dtype (fp32 for fp16 weights); the layers compute in their weights' dtype.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.paddleocr_vl.attention import FullAttention, full_fused, packed_attention
from models.paddleocr_vl.linear import linear_add, linear_gelu
from models.paddleocr_vl.rope import Rotate, axial_rope, rotate
from models.paddleocr_vl.slices import parts
from models.protocol import Grid, Sliced


class VisionLayer(nn.Module):
    """One layer of the vision tower."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.heads = config.num_attention_heads
        self.layer_norm1 = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self.qkv_proj = nn.Linear(hidden, 3 * hidden)
        self.out_proj = nn.Linear(hidden, hidden)
        self.layer_norm2 = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(hidden, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, hidden)
        self.rotate: Rotate = rotate

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, lengths: Sequence[int], full: FullAttention, rows: int | None
    ) -> Sliced[Tensor]:
        """x: (N, hidden), cos and sin: (N, 1, head_dim).

        Slices have at most `rows` tokens; attention's, which take longer on a CPU, have a quarter of that there.
        """
        dtype = self.fc1.weight.dtype
        slices = parts(len(x), rows)
        projected = []
        for own in slices:
            qkv = self.qkv_proj(_norm(self.layer_norm1, x[own]).to(dtype)).unflatten(-1, (3 * self.heads, -1))
            self.rotate(qkv[:, : 2 * self.heads], cos[own], sin[own])
            projected.append(qkv.chunk(3, dim=1))
            yield
        q, k, v = (torch.cat(some) if len(some) > 1 else some[0] for some in zip(*projected, strict=True))
        queries = rows // 4 if rows and x.device.type != "cuda" else rows
        attended = yield from packed_attention(q, k, v, lengths, full, queries)
        outputs = []
        for own in slices:
            y = linear_add(self.out_proj, attended[own].flatten(1), x[own])
            yield
            wide = linear_gelu(self.fc1, _norm(self.layer_norm2, y).to(dtype), "tanh")
            yield
            outputs.append(linear_add(self.fc2, wide, y))
            yield
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0]


class VisionTower(nn.Module):
    """Patches -> hidden states, with the learned and the rotary positions of each image's grid."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.theta = float(config.rope_parameters["rope_theta"])
        self.side = config.image_size // config.patch_size
        self.patch_embedding = nn.Linear(config.num_channels * config.patch_size**2, config.hidden_size)
        self.position_embedding = nn.Embedding(self.side**2, config.hidden_size)
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.num_hidden_layers))
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.full_attention: FullAttention = full_fused

    def forward(
        self, pixels: Tensor, grids: Sequence[Grid], residual_dtype: torch.dtype, rows: int | None
    ) -> Sliced[Tensor]:
        """pixels: (N, channels, patch, patch), all patches of `grids` in raster order -> (N, hidden)."""
        weight = self.patch_embedding.weight
        x = self.patch_embedding(pixels.flatten(1).to(weight.dtype)) + self._positions(grids)
        x = x.to(residual_dtype)
        cos, sin = axial_rope(grids, self.head_dim, self.theta, pixels.device)
        lengths = [rows * columns for rows, columns in grids]
        for layer in self.layers:
            x = yield from layer(x, cos, sin, lengths, self.full_attention, rows)
        return _norm(self.post_layernorm, x).to(weight.dtype)

    def _positions(self, grids: Sequence[Grid]) -> Tensor:
        """The learned square grid of positions, resampled to each image's grid: (N, hidden).

        Bilinear, as two products: PyTorch's own resampling of so few pixels with so many channels took 2 ms (H200).
        """
        weight = self.position_embedding.weight
        table = weight.float().view(self.side, -1)
        resampled = {}
        for rows, columns in set(grids):
            by_row = bilinear(self.side, rows, table.device) @ table  # (rows, side * hidden)
            by_column = bilinear(self.side, columns, table.device) @ by_row.view(rows, self.side, -1)
            resampled[rows, columns] = by_column.flatten(0, 1)
        return torch.cat([resampled[grid] for grid in grids]).to(weight.dtype)


@lru_cache(maxsize=512)
def bilinear(size: int, resampled: int, device: torch.device) -> Tensor:
    """(resampled, size) fp32: weights that resample `size` points linearly; outer edges coincide, not outer points."""
    centres = (torch.arange(resampled, device=device) + 0.5) * (size / resampled) - 0.5
    places = centres.clamp(0, size - 1)
    return (1 - (places[:, None] - torch.arange(size, device=device)).abs()).clamp_min(0)


class Projector(nn.Module):
    """Merges each 2x2 block of patches into one decoder input."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.merge = config.vision_config.spatial_merge_size
        wide = config.vision_config.hidden_size * self.merge**2
        self.pre_norm = nn.LayerNorm(config.vision_config.hidden_size, eps=1e-5)  # fixed in the reference
        self.linear_1 = nn.Linear(wide, wide)
        self.linear_2 = nn.Linear(wide, config.text_config.hidden_size)

    def forward(self, x: Tensor, grids: Sequence[Grid]) -> Tensor:
        """x: (N, vision hidden) -> (N / merge^2, text hidden)."""
        x = self.pre_norm(x)
        blocks = []
        for (rows, columns), image in zip(grids, x.split([r * c for r, c in grids]), strict=True):
            image = image.view(rows // self.merge, self.merge, columns // self.merge, self.merge, -1)
            blocks.append(image.transpose(1, 2).flatten(2).flatten(0, 1))
        return self.linear_2(linear_gelu(self.linear_1, torch.cat(blocks), "none"))


def _norm(norm: nn.Module, x: Tensor) -> Tensor:
    """Layer norm of a residual stream that may be wider than the norm's own weights."""
    if not isinstance(norm, nn.LayerNorm) or x.dtype == norm.weight.dtype:
        outputs: Tensor = norm(x)
        return outputs
    return F.layer_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps)
