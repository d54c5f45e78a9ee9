"""One request: what was asked (SamplingParams), its state (Sequence), and all that leaves the thread (TokenEvent)."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from engine.errors import EngineError
from engine.repetition import RepetitionDetector, RepetitionLimits

FinishReason = Literal["stop", "length"]
MIN_TEMPERATURE = 1e-5  # below it logits overflow when divided; vLLM draws the same line
REPETITION = "repetition"  # the stop_reason of an answer that fell into a loop


@dataclass(frozen=True)
class Structure:
    """What an answer must look like; compiled by `structured.Structures`."""

    kind: Literal["json_schema", "regex", "choice", "grammar"]
    definition: str  # the schema or a list of choices as JSON, the regular expression, or Lark or GBNF text
    param: str  # the field of the request that holds it, for the error


@dataclass(frozen=True)
class SamplingParams:
    max_tokens: int | None = None  # None: what the context leaves
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0  # 0: greedy, as PaddleOCR's clients mean it
    top_k: int = 0  # 0: all tokens
    min_p: float = 0.0  # least probability, as a share of the likeliest token's
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0  # over the prompt too
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # token id -> added to its logit
    top_logprobs: int = 0  # likeliest tokens to tell of at each place
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    min_tokens: int = 0  # before which neither the end token nor a stop string ends the answer
    skip_special_tokens: bool = True
    structure: Structure | None = None
    repetition: RepetitionLimits | None = None  # None: loops run on

    @property
    def greedy(self) -> bool:
        return self.temperature < MIN_TEMPERATURE or self.top_p == 0 or self.top_k == 1

    @property
    def penalised(self) -> bool:
        return self.presence_penalty != 0 or self.frequency_penalty != 0 or self.repetition_penalty != 1


@dataclass(frozen=True)
class Token:
    """One sampled token. Log probabilities (natural) are the model's own, before anything a request adds to logits."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()  # the likeliest ids with theirs, the likeliest first
    share: float = 0.0  # log probability among the tokens that the structure allowed


@dataclass(frozen=True)
class TokenEvent:
    """Progress of one request: new text (may be empty while a character or stop string is incomplete), or its end."""

    text: str
    completion_tokens: int  # so far, the end token included
    token: Token | None = None  # None: the event ends the request from outside
    end_token: bool = False  # `token` says that the answer is over and has no part in its text
    finish_reason: FinishReason | None = None
    stop_reason: str | None = None  # the stop string that was met, or REPETITION
    keep_chars: int | None = None  # of the answer's text, where the rest repeats what stands before
    error: EngineError | None = None
    cached_tokens: int = 0  # of the prompt, read for an earlier request and not again; the same in all events

    @property
    def last(self) -> bool:
        return self.finish_reason is not None or self.error is not None


class Prompt(Protocol):
    """What the engine needs to know of a model input without touching tensors."""

    @property
    def input_ids(self) -> list[int]: ...

    @property
    def next_position(self) -> int: ...

    @property
    def content_ids(self) -> np.ndarray: ...

    def without_pixels(self) -> "Prompt":
        """The same, once it has been read."""
        ...


class Text(Protocol):
    """FairQueue tokens into safe text; `detokenizer.Detokenizer`."""

    stopped: str | None

    def push(self, token: int) -> str: ...

    def flush(self) -> str: ...


class Grammar(Protocol):
    """The place of one answer in its structure; `structured.Grammar`."""

    @property
    def finished(self) -> bool: ...

    def begin_mask(self) -> None: ...

    def mask(self) -> Any: ...

    def accept(self, token: int) -> None: ...


class Deadline(NamedTuple):
    at: float  # monotonic
    seconds: float  # that the request has had by then


@dataclass(eq=False)
class Job:
    """One answer: prompts that belong together, at once (choices) or one after another (pages, a second question)."""

    client: str = ""  # who asked; clients take turns
    deadline: Deadline | None = None
    begun: bool = False  # its first prompts are in the queue
    bytes: int = 0  # of its images that wait to be read; `admission` counts


@dataclass(frozen=True)
class Times:
    """Of one request, in monotonic seconds; None for what it did not live to see.

    On a GPU `encoded` is when the work was launched, not when it was done.
    """

    submitted: float
    scheduled: float | None  # it got its slot
    encoded: float | None  # the features of its images were there
    began: float | None  # its first token came
    newest: float | None  # and its newest


@dataclass(eq=False)
class Sequence:
    """One request on the engine's thread. Only that thread reads or writes it once it is submitted."""

    prompt: Prompt
    params: SamplingParams
    max_tokens: int  # clamped to what the context leaves
    text: Text
    end_tokens: frozenset[int]
    deliver: Callable[[TokenEvent], None]  # called on the receiver's event loop
    loop: object  # the receiver's event loop
    grammar: Grammar | None = None
    job: Job = field(default_factory=Job)
    follows: bool = False  # other prompts of its answer went before
    image_bytes: int = 0  # of the job's, until the prompt is read
    slot: int | None = None
    reused: int = 0  # tokens of the prompt that the slot held when it was given
    tokens: list[int] = field(default_factory=list)
    submitted_at: float = field(default_factory=time.monotonic)
    scheduled_at: float | None = None  # when it got its slot
    encoded_at: float | None = None  # when the features of its images were there
    began_at: float | None = None  # when its first token came
    token_at: float | None = None  # when its newest token came

    def __post_init__(self) -> None:
        self.random = random.Random(self.params.seed)
        self.repetition = RepetitionDetector(self.params.repetition) if self.params.repetition else None
        self.text_lengths: list[int] = []  # characters of text handed out by the time of each token

    @property
    def cached(self) -> int:
        """Tokens in the KV cache: the prompt and all answer tokens but the newest, which no step has read yet."""
        return len(self.prompt.input_ids) + max(0, len(self.tokens) - 1)

    @property
    def content(self) -> np.ndarray:
        """Content ids of the tokens in the KV cache, (cached,) int64; none until the prompt has been read."""
        if not self.tokens:
            return self.prompt.content_ids[:0]
        return np.concatenate((self.prompt.content_ids, np.array(self.tokens[:-1], dtype=np.int64)))

    @property
    def position(self) -> int:
        """M-RoPE position of the newest token."""
        return self.prompt.next_position + len(self.tokens) - 1
