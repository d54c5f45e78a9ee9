"""Baselines that are not servers: reading the weights, matrix products, and transformers' vision tower.

torch and transformers are imported inside the functions: `bench.py`, which imports this file, needs neither.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.child_processes import child, next_message

FLOOR_BYTES = 400 * 2**20  # weights in one measurement of the floor: larger than any cache
REPETITIONS = 5  # measurements; the best counts
GRIDS = {"vision_448_rate": (32, 32), "vision_1mp_rate": (72, 72)}  # patches: 448x448 and 1008x1008 pixels

# The minimum that a server does before it is ready: import PyTorch and read every weight into memory.
READ_WEIGHTS = """
import sys, torch
from safetensors import safe_open
for file in sys.argv[1:]:
    with safe_open(file, framework="pt") as tensors:
        weights = [tensors.get_tensor(name).clone() for name in tensors.keys()]
print("true", flush=True)
"""


def read_seconds(files: Sequence[Path], log: Path) -> float:
    """Seconds that a fresh process takes to import PyTorch and read the weights. Raises ChildError."""
    started = time.monotonic()
    with child(["-c", READ_WEIGHTS, *map(str, files)], log) as process:
        next_message(process, log)
        return time.monotonic() - started


def decode_floor(folder: Path, device: str, dtype: str) -> dict[str, float]:
    """`bytes` of weights that decoding one token reads, and the best `rate` of reading them, in bytes a second."""
    import torch
    from transformers import PaddleOCRVLConfig

    from models.paddleocr_vl.model import PaddleOCRVL

    with torch.device("meta"):
        model = PaddleOCRVL(PaddleOCRVLConfig.from_pretrained(folder)).to(getattr(torch, dtype))
    weights = [weight for part in (model.text.layers, model.lm_head) for weight in part.parameters()]
    shapes = {(weight.shape[0], weight.shape[1]) for weight in weights if weight.ndim == 2}
    rate = max(product_rate(shape, weights[0].dtype, torch.device(device), FLOOR_BYTES) for shape in shapes)
    return {"bytes": sum(weight.nbytes for weight in weights), "rate": rate}


def product_rate(shape: tuple[int, int], dtype: Any, device: Any, min_bytes: int) -> float:
    """Bytes a second of matrix-vector products with distinct matrices of `shape` (out, in), at least `min_bytes`.

    Uses all threads. The best of REPETITIONS and of three ways: PyTorch's two, and packed layers.
    """
    import torch
    from torch import nn
    from torch.nn import functional as F

    from models.paddleocr_vl.cpu_products import pack

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
    if device.type == "cpu":
        pack(packed, dtype)

    def as_packed() -> None:
        for layer in packed:
            layer(row)

    ways = (as_layer, as_vector, as_packed)
    times = [run_seconds(way, device) for way in ways for _ in range(REPETITIONS)]
    return len(matrices) * size / min(times)


def vision_rates(folder: Path, device: str, dtype: str, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Images a second of our vision tower with projector and of transformers', alternately, for each of GRIDS."""
    import torch
    from transformers import PaddleOCRVLConfig, PaddleOCRVLForConditionalGeneration

    from engine.fastest import vision_attention
    from engine.memory import SLICE_ROWS
    from engine.products import choose_products
    from models.paddleocr_vl.cpu_products import pack
    from models.paddleocr_vl.slices import run as run_sliced
    from models.paddleocr_vl.weights import load_model

    where, kind = torch.device(device), getattr(torch, dtype)
    ours = load_model(folder, PaddleOCRVLConfig.from_pretrained(folder), where, kind)
    if where.type == "cpu":
        pack(ours, kind, choose_products(ours, "auto", kind))
    ours.visual.full_attention = vision_attention(where, kind, ours.config.vision_config)
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
            run_seconds(run, where)  # the first run is slower
        turns = [{side: 1 / run_seconds(run, where) for side, run in runs.items()} for _ in range(rounds)]
        rates[name] = {side: [turn[side] for turn in turns] for side in runs}
    return rates


def run_seconds(run: Callable[[], Any], device: Any) -> float:
    """Seconds of one run, until the device has finished."""
    import torch

    with torch.inference_mode():
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started
