"""Sequences without tensors: their prompts are bare token lists, and their text stays empty."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from engine.request import SamplingParams, TokenEvent
from engine.request import Sequence as EngineSequence
from models.protocol import ModelInput

END = frozenset({2})


@dataclass(frozen=True)
class BarePrompt:
    """The part of a ModelInput that needs no tensors."""

    input_ids: list[int]
    next_position: int

    @property
    def content_ids(self) -> np.ndarray:
        return np.array(self.input_ids, dtype=np.int64)

    def without_pixels(self) -> "BarePrompt":
        return self


class NoText:
    """A `request.Text` that discards its tokens."""

    stopped: str | None = None

    def push(self, _token: int) -> str:
        return ""

    def flush(self) -> str:
        return ""


def bare_sequence(ids: Sequence[int], **fields: Any) -> EngineSequence:
    """A sequence with these prompt tokens, unless `fields` give another prompt; its events are discarded."""
    bare: dict[str, Any] = {
        "prompt": cast(ModelInput, BarePrompt(list(ids), len(ids))),
        "params": SamplingParams(),
        "max_tokens": 10,
        "text": NoText(),
        "end_tokens": END,
        "deliver": ignore,
        "loop": None,
    }
    return EngineSequence(**(bare | fields))


def ignore(_event: TokenEvent) -> None:
    pass
