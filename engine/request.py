"""One request: its parameters (SamplingParams), its state (Sequence), and all that leaves the thread (TokenEvent)."""

import random
import time
from collections import abc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from engine.errors import EngineError
from engine.repetition import RepetitionDetector, RepetitionLimits
from models.protocol import ModelInput

FinishReason = Literal["stop", "length"]
MIN_TEMPERATURE = 1e-5  # below it logits overflow when divided; vLLM draws the same line
REPETITION = "repetition"  # the stop_reason of an answer that fell into a loop


@dataclass(frozen=True)
class Structure:
    """The form that an answer must have; compiled by `structured.Structures`."""

    kind: Literal["json_schema", "regex", "choice", "grammar"]
    definition: str  # the schema or a list of choices as JSON, the regular expression, or Lark or GBNF text
    param: str  # the field of the request that holds it, for the error


@dataclass(frozen=True)
class SamplingParams:
    """How to answer a prompt: sampling, penalties and ends."""

    max_tokens: int | None = None  # None: what the context leaves
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0  # 0: greedy, as PaddleOCR's clients mean it
    top_k: int = 0  # 0: all tokens
    min_p: float = 0.0  # minimum probability, as a share of the most likely token's
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0  # counts the prompt's tokens too
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # token id -> added to its logit
    top_logprobs: int = 0  # most likely tokens to report for each token
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    min_tokens: int = 0  # neither an end token nor a stop string ends the answer earlier
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
    top: tuple[tuple[int, float], ...] = ()  # the most likely ids with theirs, in falling order
    share: float = 0.0  # log probability among the tokens that the structure allowed


@dataclass(frozen=True)
class TokenEvent:
    """Progress of one request: new text (may be empty while a character or stop string is incomplete), or its end."""

    text: str
    completion_tokens: int  # so far, the end token included
    token: Token | None = None  # None: the event ends the request from outside
    end_token: bool = False  # `token` ends the answer and has no part in its text
    finish_reason: FinishReason | None = None
    stop_reason: str | None = None  # the stop string that was found, or REPETITION
    keep_chars: int | None = None  # characters of the answer's text before its repeats
    error: EngineError | None = None
    cached_tokens: int = 0  # prompt tokens prefilled by an earlier request; the same in all events

    @property
    def last(self) -> bool:
        return self.finish_reason is not None or self.error is not None


class Text(Protocol):
    """Turns tokens into text that is safe to send; `detokenizer.Detokenizer`."""

    stopped: str | None

    def push(self, token: int) -> str: ...

    def flush(self) -> str: ...


class Grammar(Protocol):
    """The progress of one answer through its structure; `structured.LLGuidanceGrammar`."""

    @property
    def finished(self) -> bool: ...

    def begin_mask(self) -> None: ...

    def guess(self, likely: abc.Sequence[int], count: int) -> list[int]: ...

    def mask(self, ahead: int = 0) -> Any: ...

    def accept(self, token: int) -> None: ...


class Deadline(NamedTuple):
    """When an answer must be complete."""

    at: float  # monotonic seconds
    seconds: float  # time that the request was given, for the error


@dataclass(eq=False)
class Job:
    """One answer: prompts that belong together, at once (choices) or one after another (pages, a second question)."""

    client: str = ""  # clients take turns
    deadline: Deadline | None = None
    streamed: bool = False  # its tokens are read as they come
    begun: bool = False  # its first prompts are in the queue
    bytes: int = 0  # memory of its images that wait for prefill; `admission` counts it


@dataclass(frozen=True, kw_only=True)
class Times:
    """Times of one request, in monotonic seconds; None for stages it did not reach.

    On a GPU `encoded` is when the work was launched, not when it was done.
    """

    submitted: float
    scheduled: float | None  # it got its slot
    encoded: float | None  # the features of its images were computed
    began: float | None  # its first token arrived
    newest: float | None  # its newest token arrived

    def phases(self) -> Iterator[tuple[str, float, float]]:
        """Phases that it went through, each with its begin and end."""
        marks = (self.submitted, self.scheduled, self.encoded, self.began, self.newest)
        for name, (begin, end) in zip(("queue", "encode", "prefill", "decode"), pairwise(marks), strict=True):
            if begin is not None and end is not None:
                yield name, begin, end


@dataclass(eq=False, kw_only=True)
class Sequence:
    """One request on the engine's thread. Only that thread reads or writes it once it is submitted."""

    prompt: ModelInput
    params: SamplingParams
    max_tokens: int  # clamped to the rest of the context
    text: Text
    end_tokens: frozenset[int]
    deliver: Callable[[TokenEvent], None]  # called on the receiver's event loop
    loop: object  # the receiver's event loop
    grammar: Grammar | None = None
    job: Job = field(default_factory=Job)
    follows: bool = False  # other prompts of its answer were submitted before
    image_bytes: int = 0  # its share of the job's, until its prompt is prefilled
    slot: int | None = None
    reused: int = 0  # tokens of the prompt that the slot held already when it was allocated
    likely: list[int] = field(default_factory=list)  # what an earlier request had after the same beginning
    tokens: list[int] = field(default_factory=list)
    submitted_at: float = field(default_factory=time.monotonic)
    scheduled_at: float | None = None  # when it got its slot
    encoded_at: float | None = None  # when the features of its images were computed
    began_at: float | None = None  # when its first token arrived
    token_at: float | None = None  # when its newest token arrived

    def __post_init__(self) -> None:
        self.random = random.Random(self.params.seed)
        self.repetition = RepetitionDetector(self.params.repetition) if self.params.repetition else None
        self.text_lengths: list[int] = []  # characters of text returned up to each token

    @property
    def cached(self) -> int:
        """Tokens in the KV cache: the prompt and all answer tokens but the newest, which no step has had as input."""
        return len(self.prompt.input_ids) + max(0, len(self.tokens) - 1)

    @property
    def content(self) -> np.ndarray:
        """Content ids of the tokens in the KV cache, (cached,) int64; none until the prompt has been prefilled."""
        if not self.tokens:
            return self.prompt.content_ids[:0]
        return np.concatenate((self.prompt.content_ids, np.array(self.tokens[:-1], dtype=np.int64)))

    @property
    def position(self) -> int:
        """M-RoPE position of the newest token."""
        return self.prompt.next_position + len(self.tokens) - 1
