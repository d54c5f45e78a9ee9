"""Parts of the vision tower next to PyTorch's own."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.paddleocr_vl.vision import StreamNorm, bilinear

CPU = torch.device("cpu")
HIDDEN = 72


@pytest.mark.parametrize("side", [9, 27])
@pytest.mark.parametrize("grid", [(1, 1), (2, 5), (8, 9), (27, 26), (72, 14), (5, 101)])
def test_a_square_of_positions_is_resampled_as_pytorch_does(side: int, grid: tuple[int, int]) -> None:
    """Grids with fewer rows and columns than the square, as many, and more."""
    table = torch.randn(side, side, HIDDEN, generator=torch.Generator().manual_seed(0))
    rows, columns = (bilinear(side, size, CPU) for size in grid)
    ours = torch.einsum("ra,cb,abh->rch", rows, columns, table)
    theirs = F.interpolate(table.permute(2, 0, 1)[None], grid, mode="bilinear", align_corners=False)
    torch.testing.assert_close(ours, theirs[0].permute(1, 2, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("resampled", [1, 5, 9, 50])
def test_each_resampled_position_is_an_average(resampled: int) -> None:
    weights = bilinear(9, resampled, CPU)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(resampled))


@pytest.fixture
def layer_norm() -> nn.LayerNorm:
    norm = nn.LayerNorm(HIDDEN, eps=1e-6).requires_grad_(False)
    norm.weight.normal_(1, 0.2)
    norm.bias.normal_(0, 0.2)
    return norm


def stream_norm(norm: nn.LayerNorm, dtype: torch.dtype) -> StreamNorm:
    ours = StreamNorm(HIDDEN, eps=norm.eps).to(dtype).requires_grad_(False)
    ours.load_state_dict(norm.state_dict())
    return ours


def test_a_norm_in_fp16_of_an_fp32_stream_computes_in_fp32(layer_norm: nn.LayerNorm) -> None:
    """The stream holds values that would be infinite in fp16."""
    layer_norm.half().float()  # so that both norms hold the same weights
    x = torch.randn(5, HIDDEN) * 1e5
    assert x.half().isinf().any()
    ours = stream_norm(layer_norm, torch.float16)(x)
    assert ours.dtype == torch.float16
    torch.testing.assert_close(ours, layer_norm(x).half(), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_norm_of_a_stream_of_its_own_dtype_is_pytorch_s(layer_norm: nn.LayerNorm, dtype: torch.dtype) -> None:
    x = torch.randn(5, HIDDEN).to(dtype)
    assert torch.equal(stream_norm(layer_norm, dtype)(x), layer_norm.to(dtype)(x))
