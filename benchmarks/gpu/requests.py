"""Requests that never pass a queue, and how they are prefilled and decoded: as the engine does, without its thread."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from engine.model_runner import ModelRunner
from engine.request import SamplingParams, Token
from engine.request import Sequence as Request
from engine.sampler import pick
from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.processor import Processor
from models.paddleocr_vl.slices import run
from models.protocol import Grid

MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "OCR:"}]}]
ANY_TOKEN = 7  # fills a prompt whose content does not matter
NOT_FINITE = -1  # in place of a token whose logits were not
Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True)
class BarePrompt:
    """A prompt of text whose tokens are never prefilled: enough to time decode steps at any length."""

    input_ids: list[int]
    next_position: int

    @property
    def content_ids(self) -> np.ndarray:
        return np.array(self.input_ids, dtype=np.int64)


@dataclass
class Answer:
    """Greedy tokens, and the gap between the two best logits at each."""

    tokens: list[int] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)

    def differs_at(self, other: "Answer", tie: float) -> int | None:
        """Index of the first other token, unless the gap there is a tie; whatever follows a tie may differ."""
        for index, (token, own, gap) in enumerate(zip(self.tokens, other.tokens, self.gaps, strict=False)):
            if token != own:
                return None if gap < tie else index
        return None


def noise(size: Size, seed: int) -> Image.Image:
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def image_request(processor: Processor, size: Size, seed: int, slot: int, **params: Any) -> Request:
    """The model's own prompt for an image of noise."""
    return request_of(processor.prepare(MESSAGES, [noise(size, seed)]), slot, SamplingParams(**params))


def bare_request(length: int, slot: int) -> Request:
    """A running request with that many tokens in its slot."""
    request = request_of(BarePrompt([ANY_TOKEN] * length, length), slot, SamplingParams())
    request.tokens.append(ANY_TOKEN)
    return request


def request_of(prompt: Any, slot: int, params: SamplingParams) -> Request:
    text: Any = None  # the answer is not read
    return Request(
        prompt=prompt,
        params=params,
        max_tokens=2**20,
        text=text,
        end_tokens=frozenset(),
        deliver=lambda _event: None,
        loop=None,
        slot=slot,
    )


def network(runner: ModelRunner) -> PaddleOCRVL:
    assert isinstance(runner.model, PaddleOCRVL)
    return runner.model


def without_graphs(runner: ModelRunner) -> ModelRunner:
    """The same runner, which launches the operations of a step one by one from now on."""
    runner.decode.graphs = None
    return runner


@torch.inference_mode()
def prefill(runner: ModelRunner, request: Request) -> tuple[torch.Tensor, Token | None]:
    """Logits of a prompt's next token, (vocabulary,) fp32, and the token."""
    assert request.slot is not None
    runner.cache.clear(request.slot, slice(None))  # graphs read beyond what is written, with a weight of 0
    logits = prefill_alone(runner, request)
    token = pick(logits, [request]).on_host()[0]
    accept(request, token)
    return logits[0], token


def encode(runner: ModelRunner, pixels: torch.Tensor, grids: Sequence[Grid]) -> list[torch.Tensor]:
    """Features of images whose pixels are on the device, in the slices that the engine takes."""
    return run(runner.prefill.encode.run_sliced(pixels, grids))


def prefill_alone(runner: ModelRunner, request: Request) -> torch.Tensor:
    """Logits of a prompt's next token, (1, vocabulary), and nothing more."""
    return run(runner.prefill.run_sliced([request]))


@torch.inference_mode()
def decode(runner: ModelRunner, requests: Sequence[Request], steps: int) -> list[tuple[Request, Token | None]]:
    """Decode together; with graphs each step is launched before the tokens of the last one are read."""
    told: list[tuple[Request, Token | None]] = []
    before = None
    for _ in range(steps):
        flight = runner.decode.launch(requests, before)
        if before is not None:
            told += landed(before)
        before = flight
        if runner.decode.graphs is None:
            told += landed(flight)
            before = None
    return told + (landed(before) if before is not None else [])


def landed(flight: Any) -> list[tuple[Request, Token | None]]:
    tokens: list[tuple[Request, Token | None]] = flight.tokens()
    for request, token in tokens:
        accept(request, token)
    return tokens


def accept(request: Request, token: Token | None) -> None:
    request.tokens.append(NOT_FINITE if token is None else token.id)


def answers(runner: ModelRunner, requests: Sequence[Request], tokens: int) -> list[Answer]:
    """Greedy answers to requests with `top_logprobs=2`, prefilled one after another and decoded together."""
    told = {id(request): Answer() for request in requests}
    picked = [(request, prefill(runner, request)[1]) for request in requests]
    for request, token in [*picked, *decode(runner, requests, tokens - 1)]:
        own = told[id(request)]
        own.tokens.append(NOT_FINITE if token is None else token.id)
        own.gaps.append(token.top[0][1] - token.top[1][1] if token is not None else 0.0)
    return list(told.values())
