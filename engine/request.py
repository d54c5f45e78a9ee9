"""One request: what was asked (SamplingParams), its state (Sequence), and all that leaves the thread (TokenEvent)."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from engine.errors import EngineError

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class SamplingParams:
    max_tokens: int | None = None  # None: what the context leaves
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0  # 0: greedy, as PaddleOCR's clients mean it
    top_k: int = 0  # 0: all tokens
    seed: int | None = None
    stop: tuple[str, ...] = ()
    skip_special_tokens: bool = True

    @property
    def greedy(self) -> bool:
        return self.temperature == 0 or self.top_p == 0 or self.top_k == 1


@dataclass(frozen=True)
class TokenEvent:
    """Progress of one request: new text (may be empty while a character or stop string is incomplete), or its end."""

    text: str
    completion_tokens: int  # so far, the end token included
    finish_reason: FinishReason | None = None
    error: EngineError | None = None

    @property
    def last(self) -> bool:
        return self.finish_reason is not None or self.error is not None


class Prompt(Protocol):
    """What the engine needs to know of a model input without touching tensors."""

    @property
    def input_ids(self) -> list[int]: ...

    @property
    def next_position(self) -> int: ...


class Text(Protocol):
    """Turns tokens into safe text; `detokenizer.Detokenizer`."""

    stopped: bool

    def push(self, token: int) -> str: ...

    def flush(self) -> str: ...


@dataclass(eq=False)
class Sequence:
    """One request on the engine's thread. Only that thread reads or writes it once it is submitted."""

    id: int
    prompt: Prompt
    params: SamplingParams
    max_tokens: int  # clamped to what the context leaves
    text: Text
    deliver: Callable[[TokenEvent], None]  # called on the receiver's event loop
    loop: object  # the receiver's event loop
    slot: int | None = None
    tokens: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.params.seed)

    @property
    def cached(self) -> int:
        """Tokens in the KV cache: the prompt and all answer tokens but the newest, which no step has read yet."""
        return len(self.prompt.input_ids) + max(0, len(self.tokens) - 1)

    @property
    def position(self) -> int:
        """M-RoPE position of the newest token."""
        return self.prompt.next_position + len(self.tokens) - 1
