"""Rotation of heads by our own kernel for CPUs, against PyTorch's."""

import pytest
import torch

from models.paddleocr_vl.cpu_rope import rotation
from models.paddleocr_vl.rope import cosines_sines, rotate

HEADS = 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("head_dim", [8, 72, 80, 128])
@pytest.mark.parametrize("rows", [1, 9, 100])
def test_heads_are_rotated_in_place_and_their_neighbours_left_alone(
    rows: int, head_dim: int, dtype: torch.dtype
) -> None:
    whole = torch.randn(rows, 2 * HEADS, head_dim).to(dtype)
    expected = whole.clone()
    angles = cosines_sines(torch.randn(rows, head_dim // 2))
    rotate(expected[:, :HEADS], *angles)
    rotation(head_dim, dtype)(whole[:, :HEADS], *angles)
    torch.testing.assert_close(whole, expected)
    assert torch.equal(whole[:, HEADS:], expected[:, HEADS:])


def test_numbers_that_are_not_finite_stay_so_in_bf16() -> None:
    x = torch.tensor([float("nan"), float("inf"), -float("nan"), 3e38] * 2, dtype=torch.bfloat16).view(1, 1, 8)
    rotation(8, torch.bfloat16)(x, *cosines_sines(torch.zeros(1, 4)))
    assert x.isfinite().flatten().tolist() == [False, False, False, True] * 2


def test_heads_that_do_not_fill_vectors_are_refused() -> None:
    with pytest.raises(RuntimeError, match="heads of 12 numbers"):
        rotation(12, torch.float32)
