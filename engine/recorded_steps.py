"""Decode steps of a few rows on a CPU: recorded for each number of rows when it first occurs, then run in one go."""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from engine.decode_attention import DecodeAttention, KernelAttention
from engine.kv_cache import KVCache
from models.paddleocr_vl.cpu_linear import BlockLinear
from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.rope import rotate

if TYPE_CHECKING:
    from models.paddleocr_vl.cpu_recording import Recording

MAX_ROWS = 16  # above which arithmetic takes longer than all waiting


class Recorded(NamedTuple):
    """A recording, and the tensors that it reads and writes."""

    recording: "Recording"
    x: Tensor  # (rows, hidden)
    cos: Tensor  # (rows, 1, D)
    sin: Tensor  # likewise
    slots: Tensor  # (rows,)
    cache_positions: Tensor  # (rows,)
    y: Tensor  # (rows, hidden)


class RecordedSteps:
    """The decoder's layers, recorded."""

    def __init__(self, model: PaddleOCRVL, cache: KVCache, attention: DecodeAttention) -> None:
        """All layers compute by our own kernels: `can_be_recorded`; so does `attention` over `cache`."""
        self._text, self._cache, self._attention = model.text, cache, attention
        self._recorded: dict[int, Recorded] = {}

    def decode(self, x: Tensor, positions: Tensor, slots: Tensor, cache_positions: Tensor) -> Tensor:
        """Hidden states (rows, hidden), as `PaddleOCRVL.decode` gives them, for at most MAX_ROWS rows.

        `positions` (3, rows), `slots` and `cache_positions` (rows,).
        """
        recorded = self._recorded.get(len(x))
        if recorded is None:
            recorded = self._recorded[len(x)] = self._record(len(x), x.dtype)
        given = x, *self._text.angles(positions), slots, cache_positions
        for target, values in zip(recorded[1:-1], given, strict=True):
            target.copy_(values)
        recorded.recording.run()
        hidden: Tensor = self._text.norm(recorded.y)
        return hidden

    def _record(self, rows: int, dtype: torch.dtype) -> Recorded:
        from models.paddleocr_vl.cpu_recording import Recording  # needs LLVM, which a GPU does without

        x = torch.empty(rows, self._text.embed_tokens.embedding_dim, dtype=dtype)
        cos, sin = (torch.empty(rows, 1, self._text.head_dim) for _ in range(2))
        slots, cache_positions = (torch.zeros(rows, dtype=torch.int64) for _ in range(2))
        attend = self._attention.of_rows([], [self._cache.scratch], slots, cache_positions)
        y = x
        with Recording() as recording:
            for index, layer in enumerate(self._text.layers):
                recording.use_again()
                y = layer(index, y, cos, sin, attend)
        return Recorded(recording, x, cos, sin, slots, cache_positions, y)


def can_be_recorded(model: PaddleOCRVL, attention: DecodeAttention) -> bool:
    """All that the decoder's layers compute on a CPU is computed by our own kernels."""
    return isinstance(attention, KernelAttention) and all(
        layer.rotate is not rotate
        and all(
            isinstance(product, BlockLinear) and product.can_be_recorded
            for product in (layer.qkv_proj, layer.o_proj, layer.gate_up_proj, layer.down_proj)
        )
        for layer in model.text.layers
    )
