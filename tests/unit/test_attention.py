"""Every attention function against the textbook formula with its full score matrix."""

import platform
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.paddleocr_vl import attention
from models.paddleocr_vl.attention import (
    chunked_attention,
    decode_attention,
    full_by_products,
    full_cudnn,
    full_fused,
    packed_attention,
    prefill_attention,
)
from models.paddleocr_vl.cpu_attention import CpuAttention
from models.paddleocr_vl.slices import run


def naive(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    """q (L, heads, D), k and v (S, kv_heads, D) -> (L, heads, D), head by head; causal: q are the last tokens."""
    group = q.shape[1] // k.shape[1]
    heads = []
    for head in range(q.shape[1]):
        scores = q[:, head] @ k[:, head // group].T / q.shape[2] ** 0.5
        if causal:
            before = k.shape[0] - q.shape[0]
            scores = scores.masked_fill(torch.ones_like(scores).triu(1 + before).bool(), float("-inf"))
        heads.append(scores.softmax(-1) @ v[:, head // group])
    return torch.stack(heads, dim=1)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("lengths", [[1], [7], [5, 5, 5], [4, 9, 9, 4, 1], [3, 2, 3]])
def test_packed_attention_stays_inside_each_image(lengths: list[int]) -> None:
    q, k, v = (random(sum(lengths), 3, 12, seed=seed) for seed in range(3))
    parts = zip(*(torch.split(x, lengths) for x in (q, k, v)), strict=True)
    expected = torch.cat([naive(*part, causal=False) for part in parts])
    for full in (full_fused, full_by_products):
        for queries in (None, 1, 4):
            attended = run(packed_attention(torch.cat((q, k, v), dim=1), lengths, full, queries))
            torch.testing.assert_close(attended, expected.flatten(1))


def test_a_shape_for_which_cudnn_has_no_plan_is_attended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_plan(*_: Any) -> None:
        raise RuntimeError("No valid engine configs")

    monkeypatch.setattr(attention, "CUDNN", no_plan)
    monkeypatch.setattr(attention, "EFFICIENT", lambda q, k, v, *_: (F.scaled_dot_product_attention(q, k, v),))
    q, k, v = (random(1, 2, 9, 8, seed=seed) for seed in range(3))
    torch.testing.assert_close(run(full_cudnn(q, k, v, None)), run(full_fused(q, k, v, None)))


def test_attention_by_products_is_as_good_in_bf16_as_the_fused_kernel() -> None:
    """Its scores are rounded: without centred keys, the error for such similar keys is a third larger."""
    q, v = random(1, 4, 60, 72, seed=0), random(1, 4, 60, 72, seed=2)
    k = random(1, 4, 60, 72, seed=1) + 10 * random(1, 4, 1, 72, seed=3)
    expected = run(full_fused(q, k, v, None))
    halved = q.bfloat16(), k.bfloat16(), v.bfloat16()
    errors = [(run(full(*halved, None)).float() - expected).abs().mean() for full in (full_fused, full_by_products)]
    assert errors[1] < 1.1 * errors[0]


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 2, 33])
def test_prefill_attention_is_causal(length: int, kv_heads: int) -> None:
    q, k, v = random(length, 4, 16, seed=0), random(length, kv_heads, 16, seed=1), random(length, kv_heads, 16, seed=2)
    expected = naive(q, k, v, causal=True)
    torch.testing.assert_close(prefill_attention(q, k.transpose(0, 1), v.transpose(0, 1)), expected)


@pytest.mark.parametrize("scores", [1, 200, 1 << 24], ids=["one query", "some queries", "all queries"])
@pytest.mark.parametrize(("new", "kv_heads"), [(1, 2), (2, 4), (12, 1), (12, 2), (32, 2)])
def test_prefill_attention_continues_after_the_cached_tokens(
    monkeypatch: pytest.MonkeyPatch, new: int, kv_heads: int, scores: int
) -> None:
    monkeypatch.setattr(attention, "SCORES_PER_CHUNK", scores)
    q, k, v = random(new, 4, 16, seed=0), random(33, kv_heads, 16, seed=1), random(33, kv_heads, 16, seed=2)
    expected = naive(q, k, v, causal=True)
    torch.testing.assert_close(prefill_attention(q, k.transpose(0, 1), v.transpose(0, 1)), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_continued_prefill_needs_no_kernel_that_holds_all_scores(dtype: torch.dtype) -> None:
    q, k, v = random(5, 16, 128, seed=0), random(2, 40, 128, seed=1), random(2, 40, 128, seed=2)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # the CPU's fused one; without it the call would raise
        prefill_attention(q.to(dtype), k.to(dtype), v.to(dtype))


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_decode_attention_reads_each_sequence_to_its_own_end(kv_heads: int) -> None:
    """Neighbouring slots in one call: masked positions have no effect."""
    keys, values = random(3, kv_heads, 40, 16, seed=1), random(3, kv_heads, 40, 16, seed=2)
    q, lengths = random(3, 4, 16, seed=0), [1, 17, 40]
    expected = [
        naive(
            q[row : row + 1],
            keys[row, :, :length].transpose(0, 1),
            values[row, :, :length].transpose(0, 1),
            causal=False,
        )
        for row, length in enumerate(lengths)
    ]
    hidden = torch.arange(40) >= torch.tensor(lengths)[:, None]
    mask = torch.zeros(3, 40).masked_fill(hidden, float("-inf"))[:, None, None]
    torch.testing.assert_close(decode_attention(q, keys, values, mask), torch.cat(expected))
    alone = decode_attention(q[1:2], keys[1:2, :, :17], values[1:2, :, :17], None)
    torch.testing.assert_close(alone, expected[1])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scores", [1, 200, 1 << 24], ids=["one query", "some queries", "all queries"])
def test_chunked_attention_does_not_depend_on_its_chunks(
    monkeypatch: pytest.MonkeyPatch, scores: int, causal: bool
) -> None:
    monkeypatch.setattr(attention, "SCORES_PER_CHUNK", scores)
    q, k, v = (random(1, 3, 21, 12, seed=seed) for seed in range(3))
    expected = naive(*(x[0].transpose(0, 1) for x in (q, k, v)), causal=causal)
    torch.testing.assert_close(chunked_attention(q, k, v, causal=causal)[0].transpose(0, 1), expected)


def test_chunked_attention_of_a_batch() -> None:
    q, k, v = (random(2, 3, 9, 12, seed=seed) for seed in range(3))
    output = chunked_attention(q, k, v, causal=True)
    for row in range(2):
        expected = naive(*(x[row].transpose(0, 1) for x in (q, k, v)), causal=True)
        torch.testing.assert_close(output[row].transpose(0, 1), expected)


@pytest.mark.parametrize("scores", [1, 200, 1 << 24], ids=["one query", "some queries", "all queries"])
def test_chunked_attention_of_fewer_queries_than_keys(monkeypatch: pytest.MonkeyPatch, scores: int) -> None:
    monkeypatch.setattr(attention, "SCORES_PER_CHUNK", scores)
    q, k, v = random(1, 3, 8, 12, seed=0), random(1, 3, 21, 12, seed=1), random(1, 3, 21, 12, seed=2)
    expected = naive(*(x[0].transpose(0, 1) for x in (q, k, v)), causal=True)
    torch.testing.assert_close(chunked_attention(q, k, v, causal=True)[0].transpose(0, 1), expected)


def test_chunked_attention_keeps_the_dtype() -> None:
    q, k, v = (random(1, 2, 5, 8, seed=seed).half() for seed in range(3))
    output = chunked_attention(q, k, v, causal=False)
    assert output.dtype == torch.float16
    expected = naive(*(x[0].transpose(0, 1).float() for x in (q, k, v)), causal=False)
    torch.testing.assert_close(output[0].transpose(0, 1).float(), expected, atol=2e-3, rtol=2e-3)


x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="our kernels are for AVX2 and AVX-512")


@x86
@pytest.mark.parametrize(
    ("dtype", "stored"),
    [(torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16), (torch.float32, torch.float16)],
)
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(16, 2, 128), (6, 2, 32), (3, 3, 64), (4, 2, 48)])
@pytest.mark.parametrize("positions", [[0], [274], [5, 6, 7], [300, 17, 511, 80, 1, 2, 3, 599]])
def test_our_kernel_for_cpus_stores_new_tokens_and_attends(
    heads: int, kv_heads: int, head_dim: int, positions: list[int], dtype: torch.dtype, stored: torch.dtype
) -> None:
    rows = len(positions)
    new = random(rows, heads + 2 * kv_heads, head_dim, seed=0).to(dtype)
    q, kv = new[:, :heads], new[:, heads:]
    entries = random(8, 2, kv_heads, 601, head_dim, seed=1).to(stored)
    slots = torch.arange(rows).flip(0)
    y = CpuAttention(heads, kv_heads, head_dim, dtype, stored).attend(
        q, kv, entries, slots, torch.tensor(positions), max(positions) + 1, 600
    )
    for row, (slot, position) in enumerate(zip(slots.tolist(), positions, strict=True)):
        keys, values = entries[slot, :, :, : position + 1].transpose(1, 2)
        assert torch.equal(torch.cat((keys[-1], values[-1])), kv[row].to(stored))
        expected = naive(q[row : row + 1].float(), keys.float(), values.float(), causal=False)
        torch.testing.assert_close(y[row : row + 1], expected.to(dtype))


@x86
def test_rows_of_one_slot_see_those_before_them() -> None:
    """Guessed tokens have rows after that of the token before."""
    new = random(3, 8, 64, seed=0)
    entries = random(1, 2, 2, 101, 64, seed=1)
    y = CpuAttention(4, 2, 64, torch.float32).attend(
        new[:, :4], new[:, 4:], entries, torch.zeros(3, dtype=torch.int64), torch.tensor([40, 41, 42]), 43, 100
    )
    keys, values = entries[0, :, :, :43].transpose(1, 2)
    torch.testing.assert_close(y, naive(new[:, :4], keys, values, causal=True))


@x86
def test_a_row_without_a_sequence_leaves_the_others_alone() -> None:
    """It has the scratch position, behind all others, for whose scores there is no room."""
    new, entries = random(2, 8, 64, seed=0), random(2, 2, 2, 1001, 64, seed=1)
    y = CpuAttention(4, 2, 64, torch.float32).attend(
        new[:, :4], new[:, 4:], entries, torch.arange(2), torch.tensor([1000, 9]), 10, 1000
    )
    keys, values = entries[1, :, :, :10].transpose(1, 2)
    torch.testing.assert_close(y[1:], naive(new[1:, :4], keys, values, causal=False))


@x86
def test_a_key_that_is_not_finite_shows_in_its_row_alone() -> None:
    new, entries = random(2, 8, 64, seed=0), random(2, 2, 2, 101, 64, seed=1)
    entries[1, 0, 1, 7, 3] = float("nan")
    y = CpuAttention(4, 2, 64, torch.float32).attend(
        new[:, :4], new[:, 4:], entries, torch.arange(2), torch.tensor([40, 40]), 41, 100
    )
    assert y.isfinite().flatten(1).all(1).tolist() == [True, False]
