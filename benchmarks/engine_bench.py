"""`bench.py engine`: the engine's parts alone, in this process, next to the machine's limits.

Encode, prefill and decode are run as the engine runs them, without HTTP or queue. Their limit is the larger
of two times: operations at the best rate of a matrix product, bytes of weights at that of a matrix-vector product.
"""

import json
import statistics
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from benchmarks.baselines import FLOOR_BYTES, product_rate, run_seconds
from benchmarks.child_processes import busy_core
from engine.build import build_runner
from engine.config import EngineConfig
from engine.memory import weight_bytes
from engine.model_runner import ModelRunner
from engine.request import SamplingParams
from engine.request import Sequence as Request
from models.paddleocr_vl.cpu_products import pack
from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.processor import Processor
from models.paddleocr_vl.slices import run

SIZES = {"448": (448, 448), "1mp": (1008, 1008)}
AT_ONCE = (1, 2, 4, 8)
ANSWERED = 32  # tokens of each answer when decoding is measured
REPETITIONS = 5
ENOUGH_SECONDS = 10
COPIED = 2**28  # bytes
ROWS = 1024  # rows of the product whose rate is the ceiling: an image of 448x448


@dataclass(frozen=True)
class Part:
    """One part of the work: its median time, and the minimum of operations and bytes that it needs."""

    name: str
    seconds: float
    operations: float
    bytes: float

    def limit(self, ceilings: "Ceilings") -> float:
        """Seconds."""
        return max(self.operations / ceilings.operations, self.bytes / ceilings.weights)

    def figures(self, ceilings: "Ceilings") -> dict[str, Any]:
        return {
            "seconds": round(self.seconds, 4),
            "gflop": round(self.operations / 1e9, 1),
            "mb": round(self.bytes / 1e6, 1),
            "over_limit": round(self.seconds / self.limit(ceilings), 2),
        }


@dataclass(frozen=True)
class Ceilings:
    """The machine's maximum rates, a second."""

    copy: float  # bytes read and written
    operations: float  # in matrix products
    weights: float  # bytes, in matrix-vector products


def network(runner: ModelRunner) -> PaddleOCRVL:
    assert isinstance(runner.model, PaddleOCRVL)
    return runner.model


def measure_ceilings(runner: ModelRunner) -> Ceilings:
    config, device = network(runner).config.vision_config, runner.device
    source = torch.ones(COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    layer = nn.Linear(config.hidden_size, config.intermediate_size, device=device, dtype=runner.dtype)
    holder = nn.Sequential(layer).requires_grad_(False)
    if device.type == "cpu":
        pack(holder, runner.dtype)
    x = torch.ones(ROWS, config.hidden_size, device=device, dtype=runner.dtype)
    text = network(runner).config.text_config
    shape = (2 * text.intermediate_size, text.hidden_size)
    return Ceilings(
        2 * COPIED / best(lambda: target.copy_(source), device),
        2 * ROWS * config.hidden_size * config.intermediate_size / best(lambda: holder(x), device),
        product_rate(shape, runner.dtype, device, FLOOR_BYTES),
    )


def best(work: Callable[[], Any], device: torch.device) -> float:
    return min(run_seconds(work, device) for _ in range(REPETITIONS))


def median(work: Callable[[], Any], device: torch.device) -> float:
    """Median seconds of a few runs; fewer if one takes seconds."""
    runs = [run_seconds(work, device)]
    while len(runs) < REPETITIONS and sum(runs) < ENOUGH_SECONDS:
        runs.append(run_seconds(work, device))
    return statistics.median(runs)


class Parts:
    """Measures the parts of one runner."""

    def __init__(self, runner: ModelRunner, processor: Processor) -> None:
        self.runner, self.processor = runner, processor
        self.model = network(runner)
        with torch.device("meta"):
            self.shapes = PaddleOCRVL(self.model.config)  # layers for CPUs do not show theirs
        self._seeds = count()

    def request(self, size: tuple[int, int], slot: int) -> Request:
        """An image that no cache has, in a slot of its own."""
        pixels = np.random.default_rng(next(self._seeds)).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        content = [{"type": "image"}, {"type": "text", "text": "OCR:"}]
        prompt = self.processor.prepare([{"role": "user", "content": content}], [Image.fromarray(pixels)])
        text: Any = None  # the answer is not read
        return Request(
            prompt=prompt,
            params=SamplingParams(),
            max_tokens=1,
            text=text,
            end_tokens=frozenset(),
            deliver=lambda _event: None,
            loop=None,
            slot=slot,
        )

    def encode(self, name: str, size: tuple[int, int]) -> Part:
        prompt: Any = self.request(size, 0).prompt
        pixels = torch.from_numpy(prompt.pixels).to(self.runner.device)
        took = median(lambda: run(self.runner.prefill.encode.run_sliced(pixels, prompt.grids)), self.runner.device)
        vision = self.model.config.vision_config
        patches = len(pixels)
        scores = 4 * vision.num_hidden_layers * patches**2 * vision.hidden_size
        products = 2 * patches * parameters(self.shapes.visual.layers)
        projector = 2 * (patches // self.processor.merge**2) * parameters(self.shapes.projector)
        weights = weight_bytes(self.model.visual) + weight_bytes(self.model.projector)
        return Part(f"encode {name}", took, scores + products + projector, weights)

    def prefill(self, name: str, size: tuple[int, int]) -> Part:
        """Prefill of a prompt whose image has been encoded."""
        request = self.request(size, 0)
        run(self.runner.prefill.run_sliced([request]))
        took = median(lambda: run(self.runner.prefill.run_sliced([request])), self.runner.device)
        tokens = len(request.prompt.input_ids)
        operations = 2 * tokens * parameters(self.shapes.text.layers)
        return Part(f"prefill {name}", took, operations, weight_bytes(self.model.text.layers))

    def decode(self, at_once: int, *, beside: bool = False) -> Part:
        """One step of `at_once` answers, each after an image of 448x448; `beside`: a program that keeps a core busy."""
        requests = [self.request(SIZES["448"], slot) for slot in range(at_once)]
        for request in requests:
            run(self.runner.prefill.run_sliced([request]))
            request.tokens += [0] * ANSWERED
        with busy_core() if beside else nullcontext():
            took = median(lambda: self.runner.decode.launch(requests), self.runner.device)
        layers, head = self.model.text.layers, self.model.lm_head
        cache = self.runner.cache.entries[:, 0, :, :, 0].nbytes * sum(request.cached for request in requests)
        moved = weight_bytes(layers) + weight_bytes(head) + cache
        operations = 2 * at_once * (parameters(self.shapes.text.layers) + parameters(self.shapes.lm_head))
        return Part(f"decode {at_once}{', a core busy' if beside else ''}", took, operations, moved)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def measure(folder: Path, dtype: str, ways: Sequence[str]) -> dict[str, Any]:
    """Ceilings and parts of the checkpoint in `folder`, by turns for each of `ways` to store its weights."""
    processor = Processor(folder)
    parts = {}
    for weights in ways:
        config = EngineConfig(model=folder, dtype=dtype, weights=weights, max_model_len=2048, slots=max(AT_ONCE))
        parts[weights] = Parts(build_runner(config, processor), processor)
    jobs: list[Callable[[Parts], Part]] = []
    for name, size in SIZES.items():
        jobs += [partial(Parts.encode, name=name, size=size), partial(Parts.prefill, name=name, size=size)]
    jobs += [partial(Parts.decode, at_once=at_once) for at_once in AT_ONCE]
    jobs += [partial(Parts.decode, at_once=at_once, beside=True) for at_once in (min(AT_ONCE), max(AT_ONCE))]
    measured: dict[str, list[Part]] = {weights: [] for weights in ways}
    runner = parts[ways[0]].runner
    with torch.inference_mode():
        ceilings = measure_ceilings(runner)
        for job in tqdm(jobs, unit="part", mininterval=1):
            for weights in ways:
                measured[weights].append(job(parts[weights]))
    return {
        "device": str(runner.device),
        "dtype": str(runner.dtype).removeprefix("torch."),
        "attention": network(runner).visual.full_attention.__name__,
        "plan": {weights: str(one.runner.plan) for weights, one in parts.items()},
        "ceilings": {
            "copy_gb_per_second": round(ceilings.copy / 1e9, 1),
            "gflop_per_second": round(ceilings.operations / 1e9, 1),
            "weights_gb_per_second": round(ceilings.weights / 1e9, 1),
        },
        "parts": {weights: {part.name: part.figures(ceilings) for part in own} for weights, own in measured.items()},
    }


def report(folder: Path, dtype: str, ways: Sequence[str]) -> None:
    """The command; its last line is JSON."""
    measured = measure(folder, dtype, ways)
    for weights, parts in measured["parts"].items():
        for name, part in parts.items():
            print(f"{weights:7} {name:20}", *(f"{key} {value:8}" for key, value in part.items()))
    print(json.dumps(measured))
