"""Ways of attention of decode steps: all that a GPU chooses from give the same. They run on a CPU.

Our own kernel runs in the emulator, and PyTorch's GPU operations have stand-ins.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PaddleOCRVLConfig

from engine import fastest
from engine.decode_attention import DecodeAttention, StoredAttention
from engine.fastest import cache_dtype, decode_attention_over
from engine.kv_cache import KVCache
from engine.timer import Timer
from models.paddleocr_vl import attention, cpu_attention, llvm
from models.paddleocr_vl.kernels import Kernels
from tests.emulator import EmulatedModule
from tests.gpu_operations import efficient, variable_flash

CPU = torch.device("cpu")

HEADS, LENGTH, IDLE = 4, 64, 100
POSITIONS = (10, IDLE, 63, 37)  # cache positions of slots in a block: the second has no sequence
WAYS = ("fused", "products", "split", "flash", "own kernel")


@pytest.fixture(scope="module")
def config(checkpoint: Path) -> Any:
    return PaddleOCRVLConfig.from_pretrained(checkpoint)


@pytest.fixture(autouse=True)
def _gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _device: None)
    monkeypatch.setattr(attention, "EFFICIENT", efficient)
    monkeypatch.setattr(attention, "VARIABLE_FLASH", variable_flash)
    monkeypatch.setattr(fastest, "DECODED", ((2, LENGTH),))


@pytest.fixture
def cache(config: Any) -> KVCache:
    return KVCache(config.text_config, slots=4, length=IDLE, device=CPU, dtype=torch.float32)


@pytest.fixture
def ways(cache: KVCache, small_module: EmulatedModule, monkeypatch: pytest.MonkeyPatch) -> dict[str, DecodeAttention]:
    """All that a GPU chooses from, over one cache; timed once, and then filled with random keys and values."""
    compared: dict[str, DecodeAttention] = {}

    def first(_what: str, seconds: Mapping[str, float], ways: Mapping[str, DecodeAttention]) -> DecodeAttention:
        assert all(0 < took < float("inf") for took in seconds.values()), seconds
        compared.update(ways)
        return ways["fused"]

    monkeypatch.setattr(fastest, "flash_exists", lambda *_: True)
    monkeypatch.setattr(fastest, "fastest", first)
    decode_attention_over(cache, HEADS, Kernels(small_module), Timer(CPU, None))
    assert not cache.entries.any()  # what the measurement stored is gone
    cache.entries.normal_(generator=torch.Generator().manual_seed(0))
    return compared


def tokens_of(rows: int, config: Any) -> tuple[Tensor, Tensor]:
    """q, and new keys and values, in one tensor as the decoder has them."""
    text = config.text_config
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randn(rows, HEADS + 2 * text.num_key_value_heads, text.head_dim, generator=generator)
    return tokens[:, :HEADS], tokens[:, HEADS:]


def expected_of(cache: KVCache, q: Tensor, kv: Tensor, slot: int, position: int, layer: int) -> Tensor:
    """One row by PyTorch's attention over its own keys and the new one."""
    keys, values = cache.entries[layer, slot, :, :, : position + 1].clone().unbind(0)
    keys[:, position], values[:, position] = kv.chunk(2)
    keys, values = (x.repeat_interleave(HEADS // len(keys), 0) for x in (keys, values))
    return F.scaled_dot_product_attention(q[:, None], keys, values)[:, 0]


@pytest.mark.parametrize("name", WAYS)
def test_each_way_attends_the_same_in_a_block_with_a_row_without_a_sequence(
    ways: dict[str, DecodeAttention], cache: KVCache, config: Any, name: str
) -> None:
    q, kv = tokens_of(len(POSITIONS), config)
    rows = [row for row, position in enumerate(POSITIONS) if position != IDLE]
    expected = {row: expected_of(cache, q[row], kv[row], row, POSITIONS[row], 1) for row in rows}
    before = cache.entries.clone()
    out = ways[name].of_block(slice(0, 4), LENGTH, torch.tensor(POSITIONS))(1, q, kv)
    for row in rows:
        torch.testing.assert_close(out[row], expected[row], rtol=1e-4, atol=1e-4)
        before[1, row, :, :, POSITIONS[row]] = kv[row].unflatten(0, (2, -1))
    assert torch.equal(cache.entries[..., :IDLE, :], before[..., :IDLE, :])


@pytest.mark.parametrize("name", WAYS)
def test_each_way_attends_the_same_in_rows_of_unequal_length(
    ways: dict[str, DecodeAttention], cache: KVCache, config: Any, name: str
) -> None:
    """Two neighbours, and a row that is alone since the slot between them is free."""
    slots, lengths = [0, 2, 3], [11, 64, 38]
    q, kv = tokens_of(3, config)
    expected = [expected_of(cache, q[row], kv[row], slots[row], lengths[row] - 1, 0) for row in range(3)]
    slot_index, cache_positions = torch.tensor(slots), torch.tensor(lengths) - 1
    out = ways[name].of_rows(slots, lengths, slot_index, cache_positions)(0, q, kv)
    torch.testing.assert_close(out, torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_all_ways_are_compared(ways: dict[str, DecodeAttention]) -> None:
    assert tuple(ways) == WAYS


def test_without_kernels_and_flash_the_others_are_compared(cache: KVCache, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    chosen = decode_attention_over(cache, HEADS, None, Timer(CPU, None))
    assert isinstance(chosen, StoredAttention)
    (message,) = caplog.messages
    assert all(f"{name} " in message for name in ("fused", "products", "split"))
    assert "flash" not in message
    assert "own kernel" not in message


def test_a_cpu_measures_no_attention_of_decode_steps(cache: KVCache, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    decode_attention_over(cache, HEADS, None, None)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("device", "dtype", "weights", "expected"),
    [
        ("cpu", torch.float32, "int8", torch.float16),
        ("cpu", torch.float32, "auto", torch.float32),
        ("cpu", torch.bfloat16, "int8", torch.bfloat16),
        ("cuda", torch.float32, "auto", torch.float32),
    ],
)
def test_keys_and_values_have_two_bytes_on_a_cpu_whose_weights_have_few_bits(
    config: Any, device: str, dtype: torch.dtype, weights: str, expected: torch.dtype
) -> None:
    assert cache_dtype(torch.device(device), dtype, config.text_config, weights) == expected


def test_a_cpu_without_our_kernel_uses_pytorchs(cache: KVCache, config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llvm, "OPENMP", None)
    cpu_attention.kernel.cache_clear()
    assert cache_dtype(CPU, torch.float32, config.text_config, "int8") == torch.float32
    assert isinstance(decode_attention_over(cache, HEADS, None, None), StoredAttention)


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(
    ways: dict[str, DecodeAttention], cache: KVCache, config: Any, name: str, broken: float
) -> None:
    """Bug: split keys turned a row that had overflowed into zeros, and its answer into a wrong one."""
    q, kv = tokens_of(1, config)
    cache.entries[0, 0, 0, :, 5] = broken
    out = ways[name].of_block(slice(0, 1), LENGTH, torch.tensor([40]))(0, q, kv)
    assert not out.isfinite().all()
