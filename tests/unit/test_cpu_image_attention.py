"""Attention inside images by whole numbers, against PyTorch's own in fp64."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from models.paddleocr_vl.cpu_image_attention import CHUNK, QUERIES, CpuImageAttention
from models.paddleocr_vl.slices import run

HEADS = 3
Parts = list[Tensor]  # q, k and v


def qkv(images: int, length: int, head_dim: int = 72, dtype: torch.dtype = torch.float32) -> Parts:
    """q, k and v (images, heads, length, D) as the vision tower has them, parts of one tensor."""
    made = torch.randn(images, length, 3, HEADS, head_dim, generator=torch.Generator().manual_seed(0)).to(dtype)
    return list(made.permute(2, 0, 3, 1, 4).unbind(0))


def attend(parts: Parts, queries: int | None = None) -> Tensor:
    own = CpuImageAttention(HEADS, parts[0].shape[-1], parts[0].dtype)
    q, k, v = parts
    return run(own.full_by_whole_numbers(q, k, v, queries))


def exact(parts: Parts) -> Tensor:
    q, k, v = (part.double() for part in parts)
    return scaled_dot_product_attention(q, k, v)


def lost(parts: Parts, attended: Tensor) -> float:
    """The relative error."""
    expected = exact(parts)
    return float((attended - expected).norm() / expected.norm())


@pytest.mark.parametrize("length", [1, 7, 16, QUERIES + 1, CHUNK - 4, CHUNK + 1, 2 * CHUNK + 100])
@pytest.mark.parametrize("images", [1, 2])
def test_images_of_any_length_lose_less_than_bf16_would(images: int, length: int) -> None:
    """bf16 loses 0.3 %."""
    parts = qkv(images, length)
    assert lost(parts, attend(parts)) < 5e-4


def test_bf16_loses_what_rounding_the_result_to_it_does() -> None:
    parts = qkv(1, 100, dtype=torch.bfloat16)
    attended = attend(parts)
    assert attended.dtype == torch.bfloat16
    assert lost(parts, attended) < 2.0**-9


@pytest.mark.parametrize("head_dim", [8, 16, 64, 72, 80])
def test_heads_of_many_sizes_are_attended_to(head_dim: int) -> None:
    parts = qkv(1, 50, head_dim)
    assert lost(parts, attend(parts)) < 5e-4


@pytest.mark.parametrize("queries", [1, 30, 64])
def test_slices_of_queries_give_what_all_at_once_do(queries: int) -> None:
    parts = qkv(2, 100)
    assert torch.equal(attend(parts, queries), attend(parts))


def test_scores_that_are_far_apart_leave_one_key() -> None:
    """The largest ones come last, so that what was summed before them is scaled to nothing."""
    parts = qkv(1, CHUNK + 50)
    parts[1][:, :, -3:] *= 100
    assert lost(parts, attend(parts)) < 5e-4


def test_one_large_channel_spoils_nothing() -> None:
    parts = qkv(1, 200)
    for part in parts:
        part[..., 5] *= 100
    assert lost(parts, attend(parts)) < 5e-3  # scores are up to thousands, of which whole ones count


@pytest.mark.parametrize("length", [CHUNK, 3 * CHUNK])
def test_equal_keys_and_values_do_not_overflow(length: int) -> None:
    """Then sums are the largest possible."""
    ones = torch.ones(1, length, 3, HEADS, 72).permute(2, 0, 3, 1, 4)
    for sign in (1, -1):
        torch.testing.assert_close(attend(list(sign * ones)), sign * ones[0], rtol=5e-4, atol=0)


def test_bf16_is_attended_to_in_fp32() -> None:
    parts = qkv(2, 40, dtype=torch.bfloat16)
    attended = attend(parts)
    assert attended.dtype == torch.bfloat16
    assert lost(parts, attended) < 2.0**-8


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_give_outputs_that_are_not(which: int, value: float) -> None:
    parts = qkv(1, 40)
    parts[which][0, 1, 20, 3] = value
    finite = attend(parts).isfinite()
    assert bool(finite[:, ::2].all())
    assert not bool(finite[0, 1, 20].all())


def test_nothing_but_zeros_gives_zeros() -> None:
    parts = list(torch.zeros(1, 20, 3, HEADS, 72).permute(2, 0, 3, 1, 4))
    assert not attend(parts).any()


def test_heads_that_do_not_fill_vectors_are_refused() -> None:
    with pytest.raises(RuntimeError, match="heads of 12 numbers"):
        CpuImageAttention(HEADS, 12, torch.float32)
