"""Tasks of `bench.py compare`: this file, run with a task's name, in a process of its own.

A task writes its results as JSON lines to standard output. Tasks import torch and transformers where they need them,
since the benchmark itself, which imports this file too, needs neither.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

FLOOR_BYTES = 400 * 2**20  # weights in one measurement of the floor: more than a cache holds
REPETITIONS = 5  # repetitions of that measurement; the best one counts
GRIDS = {"vision_448_rate": (32, 32), "vision_1mp_rate": (72, 72)}  # patches: 448x448 and 1008x1008 pixels


def transformers(tell: Callable[[Any], None], *arguments: str) -> None:  # noqa: ARG001 - a server writes no results
    """The command `transformers ...`, without the package accelerate.

    `transformers serve` uses it only to place the model on its device while loading; here it is placed afterwards.
    """
    from transformers.cli import transformers as command
    from transformers.cli.serving import model_manager

    manager_class: Any = model_manager.ModelManager
    load = manager_class._load_model

    def load_and_place(manager: Any, *positional: Any, **named: Any) -> Any:
        device, manager.device = manager.device, None
        return load(manager, *positional, **named).to(device)

    manager_class._load_model = load_and_place
    sys.argv = ["transformers", *arguments]
    run: Any = command.main
    run()


def generate(tell: Callable[[Any], None], folder: str, device: str) -> None:
    """transformers' `generate`, one request at a time: each line of input a request's body, answered by its timing."""
    import torch
    from transformers import AutoProcessor, PaddleOCRVLForConditionalGeneration

    load: Any = AutoProcessor.from_pretrained  # untyped in transformers
    processor = load(folder)
    model: Any = PaddleOCRVLForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
    model.to(device)
    tell(True)
    for line in sys.stdin:
        body = json.loads(line)
        arrivals = Arrivals()
        inputs = processor.apply_chat_template(
            with_images(body["messages"]),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(device)
        length = {"max_new_tokens": body["max_tokens"], "eos_token_id": -1, "pad_token_id": 0}
        model.generate(**inputs, **length, do_sample=False, streamer=arrivals)
        tell({"arrivals": arrivals.seconds, "ended": arrivals.now()})


def with_images(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """OpenAI's messages in the form of transformers' processors."""
    return [
        {
            "role": message["role"],
            "content": [
                {"type": "image", "url": part["image_url"]["url"]} if part["type"] == "image_url" else part
                for part in message["content"]
            ],
        }
        for message in messages
    ]


class Arrivals:
    """A streamer for `generate` that notes when each token came, in seconds from its making."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = time.monotonic()
        self._is_prompt = True  # `generate` passes the prompt first

    def now(self) -> float:
        return time.monotonic() - self._started

    def put(self, tokens: Any) -> None:
        tokens.tolist()  # waits for the device
        if not self._is_prompt:
            self.seconds.append(self.now())
        self._is_prompt = False

    def end(self) -> None:
        """Part of the streamer's interface; nothing is held back."""


def floor(tell: Callable[[Any], None], folder: str, device: str, dtype: str) -> None:
    """Bytes of weights that one token goes through, and their best possible rate in bytes a second."""
    import torch
    from transformers import PaddleOCRVLConfig

    from models.paddleocr_vl.model import PaddleOCRVL

    with torch.device("meta"):
        model = PaddleOCRVL(PaddleOCRVLConfig.from_pretrained(folder)).to(getattr(torch, dtype))
    weights = [weight for part in (model.text.layers, model.lm_head) for weight in part.parameters()]
    shapes = {(weight.shape[0], weight.shape[1]) for weight in weights if weight.ndim == 2}
    rate = max(product_rate(shape, weights[0].dtype, torch.device(device), FLOOR_BYTES) for shape in shapes)
    tell({"bytes": sum(weight.nbytes for weight in weights), "rate": rate})


def product_rate(shape: tuple[int, int], dtype: Any, device: Any, min_bytes: int) -> float:
    """Bytes a second of products of vectors with matrices of `shape` (out, in), of at least `min_bytes` in all.

    With all threads; the best of PyTorch's two ways to write it and of packed layers, and of REPETITIONS.
    """
    import torch
    from torch import nn
    from torch.nn import functional as F

    from models.paddleocr_vl.linear import pack

    size = math.prod(shape) * dtype.itemsize
    matrices = [torch.ones(shape, dtype=dtype, device=device) for _ in range(math.ceil(min_bytes / size))]
    row = torch.ones(1, shape[1], dtype=dtype, device=device)

    def as_layer() -> None:
        for matrix in matrices:
            F.linear(row, matrix)

    def as_vector() -> None:
        for matrix in matrices:
            torch.mv(matrix, row[0])

    packed = nn.Sequential(*(nn.Linear(*shape[::-1], bias=False, device="meta", dtype=dtype) for _ in matrices))
    for layer, matrix in zip(packed, matrices, strict=True):
        layer.weight = nn.Parameter(matrix, requires_grad=False)
    pack(packed)

    def as_packed() -> None:
        for layer in packed:
            layer(row)

    ways = (as_layer, as_vector, as_packed)
    times = [seconds(way, device) for way in ways for _ in range(REPETITIONS)]
    return len(matrices) * size / min(times)


def vision(tell: Callable[[Any], None], folder: str, device: str, dtype: str, rounds: str) -> None:
    """Images a second of our vision tower with projector and of transformers', alternating, for each of GRIDS."""
    import torch
    from transformers import PaddleOCRVLConfig, PaddleOCRVLForConditionalGeneration

    from engine.build import SLICE_ROWS
    from engine.device import choose_attention
    from models.paddleocr_vl.linear import pack
    from models.paddleocr_vl.slices import run as run_sliced
    from models.paddleocr_vl.weights import load_model

    where, kind = torch.device(device), getattr(torch, dtype)
    ours = load_model(Path(folder), PaddleOCRVLConfig.from_pretrained(folder), where, kind)
    pack(ours)
    ours.visual.full_attention = choose_attention(where, kind, ours.config.vision_config)
    theirs: Any = PaddleOCRVLForConditionalGeneration.from_pretrained(folder, dtype=kind)
    theirs.to(where)

    def in_slices(pixels: Any, grids: Any) -> None:
        run_sliced(ours.encode_sliced(pixels, grids, SLICE_ROWS[where.type]))

    rates: dict[str, dict[str, list[float]]] = {}
    for name, (rows, columns) in GRIDS.items():
        pixels = torch.rand(rows * columns, 3, 14, 14, device=where).to(kind)
        thw = torch.tensor([(1, rows, columns)], device=where)
        runs: dict[str, Callable[[], Any]] = {
            "ours": partial(in_slices, pixels, [(rows, columns)]),
            "transformers": partial(theirs.get_image_features, pixels, thw),
        }
        for run in runs.values():
            seconds(run, where)  # the first is slower
        turns = [{side: 1 / seconds(run, where) for side, run in runs.items()} for _ in range(int(rounds))]
        rates[name] = {side: [turn[side] for turn in turns] for side in runs}
    tell(rates)


def seconds(run: Callable[[], Any], device: Any) -> float:
    """Seconds of one run, until the device is done."""
    import torch

    with torch.inference_mode():
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started


TASKS: dict[str, Callable[..., None]] = {
    "transformers": transformers,
    "generate": generate,
    "floor": floor,
    "vision": vision,
}


def main(name: str, *arguments: str) -> None:
    # Output of libraries on standard output would be taken for the task's results.
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(what: Any) -> None:
        print(json.dumps(what), file=lines, flush=True)

    TASKS[name](tell, *arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
