"""The vision tower (SigLIP, native resolution) and the projector: pixels -> one feature per 28x28 pixels.

Tokens of all images of a batch are concatenated; only attention and positions know where one image ends. The residual
stream keeps its given dtype (fp32 for fp16 weights); the layers compute in their weights' dtype.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.paddleocr_vl.attention import FullAttention, full_fused
from models.paddleocr_vl.linear import linear_add_norm, linear_gelu
from models.paddleocr_vl.rope import Rotate, axial_rope, rotate
from models.paddleocr_vl.slices import parts
from models.protocol import Grid, Patches, Sliced

AttendPatches = Callable[[Tensor, int | None], Sliced[Tensor]]
"""qkv (N, 3 * heads, D) and the maximum queries per slice -> (N, heads * D)"""


class VisionLayer(nn.Module):
    """One layer of the vision tower."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.heads = config.num_attention_heads
        self.layer_norm1 = StreamNorm(hidden, eps=config.layer_norm_eps)
        self.qkv_proj = nn.Linear(hidden, 3 * hidden)
        self.out_proj = nn.Linear(hidden, hidden)
        self.layer_norm2 = StreamNorm(hidden, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(hidden, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, hidden)
        self.rotate: Rotate = rotate

    def forward(
        self,
        x: Tensor,
        normed: Sequence[Tensor],
        angles: tuple[Tensor, Tensor],
        attend: AttendPatches,
        rows: int | None,
        next_norm: nn.Module,
    ) -> Sliced[tuple[Tensor, Sequence[Tensor]]]:
        """x: (N, hidden) and its first norm by slices -> the same for the next layer, whose first norm is given.

        `angles`: cosines and sines, (N, 1, head_dim). Slices have at most `rows` tokens; attention's, which take longer
        on a CPU, have a quarter of that there.
        """
        slices = parts(len(x), rows)
        projected = []
        for own, inputs in zip(slices, normed, strict=True):
            qkv = self.qkv_proj(inputs).view(len(inputs), 3 * self.heads, -1)
            self.rotate(qkv[:, : 2 * self.heads], *(_part(x, own) for x in angles))
            projected.append(qkv)
            yield
        queries = rows // 4 if rows and x.device.type != "cuda" else rows
        qkv = _joined(projected)
        projected.clear()
        attended = yield from attend(qkv, queries)
        del qkv
        outputs, following = [], []
        for own in slices:
            y, inputs = linear_add_norm(self.out_proj, _part(attended, own), _part(x, own), self.layer_norm2)
            yield
            wide = linear_gelu(self.fc1, inputs, "tanh")
            yield
            y, inputs = linear_add_norm(self.fc2, wide, y, next_norm)
            outputs.append(y)
            following.append(inputs)
            yield
        return _joined(outputs), following


def _part(x: Tensor, own: slice) -> Tensor:
    """A slice of x, which is mostly the whole: then without a view, which takes long beside a launch."""
    return x if own.stop - own.start == len(x) else x[own]


def _joined(slices: Sequence[Tensor]) -> Tensor:
    return slices[0] if len(slices) == 1 else torch.cat(list(slices))


class StreamNorm(nn.LayerNorm):
    """Layer norm of a residual stream that may be wider than the norm's own weights, in their dtype."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == self.weight.dtype:
            return super().forward(x)
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps).to(self.weight.dtype)


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
        self.post_layernorm = StreamNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.full_attention: FullAttention = full_fused

    def embed(self, pixels: Tensor, grids: Sequence[Grid], residual_dtype: torch.dtype) -> Patches:
        """pixels: (N, channels, patch, patch), all patches of `grids` in raster order."""
        weight = self.patch_embedding.weight
        x = self.patch_embedding(pixels.flatten(1).to(weight.dtype)) + self._positions(grids)
        return Patches(x.to(residual_dtype), *axial_rope(grids, self.head_dim, self.theta, pixels.device))

    def forward(self, patches: Patches, attend: AttendPatches, rows: int | None) -> Sliced[Tensor]:
        """Hidden states (N, hidden), in slices of at most `rows` patches."""
        x, *angles = patches
        del patches  # its first residual stream would stay as long as this runs
        norms: list[Any] = [*(layer.layer_norm1 for layer in self.layers), self.post_layernorm]
        normed: Sequence[Tensor] = [norms[0](_part(x, own)) for own in parts(len(x), rows)]
        for layer, next_norm in zip(self.layers, norms[1:], strict=True):
            x, normed = yield from layer(x, normed, (angles[0], angles[1]), attend, rows, next_norm)
        return _joined(normed)

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


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # training may use it later
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
        alike = [(rows, columns, len(list(run))) for (rows, columns), run in groupby(grids)]
        blocks = []
        for (rows, columns, _), images in zip(alike, x.split([r * c * count for r, c, count in alike]), strict=True):
            images = images.view(-1, rows // self.merge, self.merge, columns // self.merge, self.merge, x.shape[1])
            blocks.append(images.transpose(2, 3).flatten(3).flatten(0, 2))
        return self.linear_2(linear_gelu(self.linear_1, torch.cat(blocks), "none"))
