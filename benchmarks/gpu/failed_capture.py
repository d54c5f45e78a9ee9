"""`python -m benchmarks.gpu.failed_capture CHECKPOINT`: make the capture of a decode step fail, then go on as usual.

Prints what was tried afterwards as one line of JSON, each "ok" or its error.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks.gpu.requests import bare_request, decode
from benchmarks.gpu.workplace import Workplace
from engine.memory import is_shortage
from engine.model_runner import ModelRunner
from engine.sampler import Best, best

STEPS = 4
EXBIBYTE = 2**60


def refused(logits: torch.Tensor) -> Best:
    """`best`, which cannot be captured: it reads a value on the host."""
    logits.sum().item()
    return best(logits)


def steps(runner: ModelRunner) -> None:
    request = bare_request(100, 0)
    decode(runner, [request], STEPS)
    assert len(request.tokens) == 1 + STEPS


def shortage(device: torch.device) -> None:
    """More memory than there is: PyTorch frees what it has cached before it gives up."""
    try:
        torch.empty(EXBIBYTE, dtype=torch.uint8, device=device)
    except RuntimeError as error:
        if not is_shortage(error):
            raise


def tried(work: Callable[[], Any]) -> str:
    try:
        work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    return "ok"


def main(folder: Path) -> None:
    runner = Workplace(folder.parent, small=True).runner(folder)
    with mock.patch("engine.decode.best", refused):
        told = {"decoding, whose capture fails": tried(lambda: steps(runner))}
    told |= {
        "decoding": tried(lambda: steps(runner)),
        "allocating": tried(lambda: torch.ones(2**24, device=runner.device).sum().item()),
        "a shortage": tried(lambda: shortage(runner.device)),
        "recovering": tried(lambda: runner._recover("Decoding", RuntimeError("out of memory"), alone=True)),
        "decoding again": tried(lambda: steps(runner)),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
