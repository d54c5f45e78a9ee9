"""Our logits and tokens against transformers' plain attention in fp32, and decoding with graphs against without."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.reference import greedy, last_logits, load_reference
from benchmarks.gpu.report import Section
from benchmarks.gpu.requests import NOT_FINITE, Answer, Size, answers, image_request, prefill, without_graphs
from benchmarks.gpu.workplace import Workplace
from engine.request import Sequence as Request
from models.paddleocr_vl.processor import Processor

SIZES: dict[str, tuple[Size, ...]] = {
    "tiny": ((56, 56), (140, 56), (333, 257), (60, 500)),
    "big": ((448, 448), (333, 257)),
}
PERCENT = {"float32": 0.01, "bfloat16": 5.0, "float16": 0.5}  # bars on the largest difference, by the largest logit
LIMITS = {"max_model_len": 1024, "slots": 4}
TOKENS = 40
TOKENS_SMALL = 8


@dataclass(frozen=True)
class Expected:
    """What the reference says to each image."""

    logits: list[Tensor]
    answers: list[Answer]

    @property
    def largest(self) -> float:
        return max(float(logits.abs().max()) for logits in self.logits)


def parity(place: Workplace, section: Section) -> None:
    """Every dtype, on the embedded checkpoint and on random weights of the real size."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for folder in (place.tiny,) if place.small else (place.tiny, place.big):
        expected = _expected(place, folder)
        place.free()
        for dtype in PERCENT:
            section.figures[f"{folder.name} {dtype}"] = _compared(place, section, folder, dtype, expected)
            place.free()


def _requests(folder: Path) -> list[Request]:
    """The same each time, each in a slot of its own."""
    processor = Processor(folder)
    sizes = SIZES[folder.name]
    return [image_request(processor, size, slot, slot, top_logprobs=2) for slot, size in enumerate(sizes)]


def _expected(place: Workplace, folder: Path) -> Expected:
    reference = load_reference(place, folder, torch.float32, "eager")
    requests = _requests(folder)
    tokens = TOKENS_SMALL if place.small else TOKENS
    told = [greedy(reference, request, tokens) for request in requests]
    return Expected([last_logits(reference, request) for request in requests], told)


def _compared(place: Workplace, section: Section, folder: Path, dtype: str, expected: Expected) -> dict[str, Any]:
    """Figures of one checkpoint in one dtype, with their bars."""
    name, count = f"{folder.name} {dtype}", TOKENS_SMALL if place.small else TOKENS
    runner = place.runner(folder, dtype=dtype, **LIMITS)
    logits = [prefill(runner, request)[0] for request in _requests(folder)]
    difference = max(float((own - theirs).abs().max()) for own, theirs in zip(logits, expected.logits, strict=True))
    percent = 100 * difference / expected.largest
    section.at_most(f"{name}: difference in percent of the largest logit", percent, PERCENT[dtype])
    tie = PERCENT[dtype] / 100 * expected.largest
    ours = answers(runner, _requests(folder), count)
    not_finite = sum(answer.tokens.count(NOT_FINITE) for answer in ours)
    section.holds(f"{name}: tokens that are not finite", not_finite, 0)
    figures: dict[str, Any] = {
        "largest_difference": round(difference, 6),
        "percent": round(percent, 4),
        "largest_logit": round(expected.largest, 3),
        "same_tokens_as_transformers": _same(ours, expected.answers),
    }
    apart = [own.differs_at(other, tie) for own, other in zip(expected.answers, ours, strict=True)]
    section.holds(f"{name}: first token unlike transformers' that is no near tie", apart, [None] * len(apart))
    if runner.decode.graphs is not None:
        plain = answers(without_graphs(runner), _requests(folder), count)
        figures["same_tokens_without_graphs"] = _same(ours, plain)
        apart = [own.differs_at(other, tie) for own, other in zip(ours, plain, strict=True)]
        section.holds(f"{name}: first token unlike that without graphs, no near tie", apart, [None] * len(apart))
    return figures


def _same(ours: list[Answer], others: list[Answer]) -> str:
    pairs = [
        pair for own, other in zip(ours, others, strict=True) for pair in zip(own.tokens, other.tokens, strict=False)
    ]
    return f"{sum(a == b for a, b in pairs)} of {len(pairs)}"
