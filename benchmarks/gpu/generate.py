"""Plain `generate` by transformers with PyTorch's attention, on the same weights: the speed to beat."""

from functools import partial
from typing import Any

import torch

from benchmarks.gpu.reference import generate, load_reference, tensors_of
from benchmarks.gpu.report import Section
from benchmarks.gpu.workplace import Workplace
from models.paddleocr_vl.processor import Processor

TOKENS = 64
TOKENS_SMALL = 4
SEQUENTIAL = 4  # requests, one after another, whose rate stands for any number
TIMES_ALONE = 12  # our step at 1 row against a step of `generate`
TIMES_TOGETHER = 150  # our tokens a second at 32 rows against those of requests one after another


def plain_generate(place: Workplace, section: Section) -> None:
    """Vision tower, decode step and whole requests; ratios to our times, which earlier sections measured."""
    dtype = torch.bfloat16 if place.on_gpu else torch.float32
    reference = load_reference(place, place.big, dtype, "sdpa")
    processor = Processor(place.big)
    tokens = TOKENS_SMALL if place.small else TOKENS
    for name, size in place.sizes.items():
        inputs = tensors_of(place.request(processor, size), reference)
        pixels, grids = inputs["pixel_values"], inputs["image_grid_thw"]
        took = place.clock.median(partial(reference.get_image_features, pixels, grids), 3)
        section.figures[f"vision {name}: ms"] = took
        ours = place.times.get(f"vision {name}")
        if ours is not None:
            section.speed(f"our vision {name} over transformers'", ours / took, most=1.0)
    size = next(iter(place.sizes.values()))
    inputs = tensors_of(place.request(processor, size), reference)
    first = place.clock.median(lambda: generate(reference, inputs, 1), 2)
    whole = place.clock.median(lambda: generate(reference, inputs, tokens + 1), 1)
    step = (whole - first) / tokens
    requests = [tensors_of(place.request(processor, size), reference) for _ in range(SEQUENTIAL)]
    sequential = place.clock.once(lambda: in_turn(reference, requests, tokens))
    section.figures |= {
        "first token: ms": first,
        "step: ms": round(step, 3),
        f"requests a second of {tokens} tokens, one after another": round(SEQUENTIAL * 1e3 / sequential, 3),
    }
    for rows, least in ((1, TIMES_ALONE), (32, TIMES_TOGETHER)):
        if f"decode {rows}" in place.times:
            times = rows * step / place.times[f"decode {rows}"]
            section.figures[f"our tokens a second at {rows} rows over `generate`'s"] = round(times, 1)
            section.speed(f"times plain generate at {rows} rows", times, least=least)


def in_turn(reference: Any, requests: list[dict[str, torch.Tensor]], tokens: int) -> None:
    for inputs in requests:
        generate(reference, inputs, tokens)
