"""Times of the engine's parts in one dtype: decode steps, the vision tower, prefill."""

import time
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.report import Section
from benchmarks.gpu.requests import bare_request, decode, encode, prefill, prefill_alone, without_graphs
from benchmarks.gpu.workplace import Workplace
from engine.model_runner import ModelRunner
from models.paddleocr_vl.processor import Processor

STEPS = 40
STEPS_SMALL = 4
LENGTHS = (465, 2000, 4000)  # tokens in each slot, besides the workplace's; STEPS more stay within one graph
STEP_MS = {1: 1.5, 32: 2.0}  # bars on a decode step at 1024 tokens, by rows
VISION_MS = {"448": 5.0, "1mp": 30.0}
WARM_UP = 3  # steps, among them one that captures


def decode_steps(place: Workplace, section: Section) -> None:
    """A decode step by rows and length, with graphs and, at one length, without."""
    runner = place.runner(place.big)
    lengths = (place.length,) if place.small else (place.length, *LENGTHS)
    for rows in place.rows:
        for length in lengths:
            section.figures[f"{rows} rows, {length} tokens: ms"] = step_ms(place, runner, rows, length)
        took = section.figures[f"{rows} rows, {place.length} tokens: ms"]
        place.times[f"decode {rows}"] = took
        section.figures[f"{rows} rows: tokens a second"] = round(rows * 1e3 / took)
        if rows in STEP_MS:
            section.speed(f"step at {rows} rows and 1024 tokens, ms", took, most=STEP_MS[rows])
    for rows in place.rows:
        section.figures[f"{rows} rows: launch on the host, ms"] = launch_ms(place, runner, rows)
    without_graphs(runner)
    for rows in place.rows:
        took = step_ms(place, runner, rows, place.length)
        section.figures[f"{rows} rows, {place.length} tokens, no graphs: ms"] = took


def step_ms(place: Workplace, runner: ModelRunner, rows: int, length: int) -> float:
    steps = STEPS_SMALL if place.small else STEPS
    decode(runner, [bare_request(length, slot) for slot in range(rows)], WARM_UP)
    requests = [bare_request(length, slot) for slot in range(rows)]
    return round(place.clock.once(lambda: decode(runner, requests, steps)) / steps, 4)


@torch.inference_mode()
def launch_ms(place: Workplace, runner: ModelRunner, rows: int) -> float:
    """Time of the host alone: until a launch returns, whatever it leaves to an idle device."""
    requests = [bare_request(place.length, slot) for slot in range(rows)]
    runner.decode.launch(requests)
    place.clock.wait()
    started = time.perf_counter()
    runner.decode.launch(requests)
    return round((time.perf_counter() - started) * 1e3, 4)


def vision_and_prefill(place: Workplace, section: Section) -> None:
    """The vision tower with the projector, the prefill of an encoded image, and a whole first token, by size."""
    measure_vision(place, section, place.runner(place.big), VISION_MS)


def measure_vision(place: Workplace, section: Section, runner: ModelRunner, bars: dict[str, float]) -> None:
    processor = Processor(place.big)
    for name, size in place.sizes.items():
        request = place.request(processor, size)
        prompt: Any = request.prompt
        pixels = torch.from_numpy(prompt.pixels).to(place.device)
        took = place.clock.median(partial(encode, runner, pixels, prompt.grids))
        section.figures[f"vision {name}: ms"] = took
        place.times.setdefault(f"vision {name}", took)
        if name in bars:
            section.speed(f"vision {name}, ms", took, most=bars[name])
        prefill(runner, request)  # its features are cached from now on
        took = place.clock.median(partial(prefill_alone, runner, request))
        section.figures[f"prefill {name} ({len(prompt.input_ids)} tokens): ms"] = took
        fresh = [place.request(processor, size) for _ in range(4)]
        firsts = sorted(place.clock.once(partial(prefill, runner, own)) for own in fresh)
        section.figures[f"first token {name}: ms"] = round(firsts[len(firsts) // 2], 3)
