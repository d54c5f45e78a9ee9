"""Recorded decode steps against steps that are computed call by call."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engine.build import build_runner
from engine.config import EngineConfig
from engine.decode import BatchRow, Decode
from engine.recorded_steps import MAX_ROWS
from models.paddleocr_vl.cpu_linear import BlockLinear
from models.paddleocr_vl.processor import Processor

TOKENS = 40


def decoder(checkpoint: Path, weights: str, dtype: str = "float32") -> Decode:
    config = EngineConfig(model=checkpoint, device="cpu", dtype=dtype, weights=weights, slots=4, max_model_len=128)
    return build_runner(config, Processor(checkpoint)).decode


def fill(decode: Decode) -> None:
    """Write the same numbers to the first positions of all slots."""
    stored = decode.cache.entries[..., :TOKENS, :]
    stored.copy_(torch.randn(stored.shape, generator=torch.Generator().manual_seed(0)))


def rows_of(count: int, first: int = TOKENS) -> list[BatchRow]:
    """Rows of three slots, of which some have guessed tokens behind their own."""
    slots = sorted(row % 3 for row in range(count))
    ahead = [slots[:row].count(slot) for row, slot in enumerate(slots)]
    return [
        BatchRow(5 + row, first + behind, first + behind, slot)
        for row, (slot, behind) in enumerate(zip(slots, ahead, strict=True))
    ]


@torch.inference_mode()
def logits_of(decode: Decode, rows: list[BatchRow], *, recorded: bool) -> tuple[Tensor, Tensor]:
    """Logits, and what the cache holds afterwards, which was filled before."""
    fill(decode)
    own, decode._recorded = decode._recorded, decode._recorded if recorded else None
    try:
        return decode._logits_of(rows).clone(), decode.cache.entries.clone()
    finally:
        decode._recorded = own


@pytest.mark.parametrize(
    ("weights", "dtype"), [("auto", "float32"), ("int8", "float32"), ("int8", "bfloat16"), ("int4", "float32")]
)
def test_a_recorded_step_gives_what_the_same_calls_give(checkpoint: Path, weights: str, dtype: str) -> None:
    decode = decoder(checkpoint, weights, dtype)
    assert decode._recorded is not None
    for count in (1, 3, 8, 9, MAX_ROWS):
        for first in (TOKENS, TOKENS - 20):  # the second time it has been recorded
            for ours, expected in zip(
                logits_of(decode, rows_of(count, first), recorded=True),
                logits_of(decode, rows_of(count, first), recorded=False),
                strict=True,
            ):
                assert torch.equal(ours, expected)


def test_more_rows_than_are_recorded_are_computed_call_by_call(checkpoint: Path) -> None:
    decode = decoder(checkpoint, "auto")
    assert decode._recorded is not None
    logits_of(decode, rows_of(MAX_ROWS + 1), recorded=True)
    assert not decode._recorded._recorded


def test_layers_that_are_not_our_kernels_are_not_recorded(checkpoint: Path) -> None:
    assert decoder(checkpoint, "native")._recorded is None


@pytest.mark.parametrize(
    ("inputs", "dtype", "expected"),
    [(64, torch.float32, True), (72, torch.float32, False), (64, torch.float16, False)],
    ids=["whole", "padded", "converted"],
)
def test_a_layer_is_recorded_only_if_nothing_is_done_to_its_inputs(
    inputs: int, dtype: torch.dtype, expected: bool
) -> None:
    layer = BlockLinear(nn.Linear(inputs, 32), dtype, bits=8)
    assert layer.can_be_recorded == expected
