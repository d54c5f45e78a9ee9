"""Faults that only a GPU has, and whether all is well afterwards."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.report import Section
from benchmarks.gpu.workplace import MIB, Workplace
from engine.errors import GenerationFailed
from engine.model_runner import ModelRunner, Outcome
from engine.request import Sequence as Request
from engine.request import Token
from engine.sampler import pick
from engine.scheduler import Step
from models.paddleocr_vl.processor import Processor

ROOT = Path(__file__).resolve().parents[2]
LEFT = 64 * MIB  # free bytes, too few for an image
STEPS = 4
PROBE_TIMEOUT = 120.0  # seconds
SAMPLING: dict[str, dict[str, Any]] = {
    "greedy": {},
    "temperature": {"temperature": 1.0},
    "top_k": {"temperature": 1.0, "top_k": 20},
    "top_p": {"temperature": 0.7, "top_p": 0.9, "min_p": 0.01},
    "logprobs": {"top_logprobs": 5},
    "bias": {"logit_bias": {5: 1.0}},
}


def faults(place: Workplace, section: Section) -> None:
    """Each fault between requests that must be answered."""
    runner = place.runner(place.big, slots=4)
    processor = Processor(place.big)
    small, *_, large = place.sizes.values()

    def told(name: str, wanted: type[Outcome], size: tuple[int, int] = small) -> None:
        outcome = whole_request(runner, place.request(processor, size))
        section.figures[name] = str(outcome)[:120]
        section.holds(name, type(outcome).__name__, wanted.__name__)

    told("before", Token)
    if place.on_gpu:
        with_little_memory(place, lambda: told("no memory for an image", GenerationFailed, large))
        told("after the shortage", Token)
    weight: Any = runner.model.text.layers[0].input_layernorm.weight  # type: ignore[attr-defined]
    with torch.inference_mode():
        kept = weight.clone()
        weight.fill_(float("nan"))
        told("a weight is NaN", GenerationFailed)
        weight.copy_(kept)
    told("after the weight is whole again", Token)
    capture = failed_capture(place)
    section.figures["a capture that fails"] = capture
    section.holds("after a capture that fails", sorted(set(capture.values())), ["ok"])


def whole_request(runner: ModelRunner, request: Request) -> Outcome:
    """The outcome of its prompt; where that is a token, a few more are decoded."""
    outcomes: list[tuple[Request, Outcome]] = []
    while not outcomes:
        outcomes = runner.run(Step([request], []))
    outcome = outcomes[0][1]
    if isinstance(outcome, Token):
        request.tokens.append(outcome.id)
        for _ in range(STEPS):
            later = [token for _, token in runner.run(Step([], [request]))]
            request.tokens += [token.id for token in later if isinstance(token, Token)]
            outcome = next((token for token in later if not isinstance(token, Token)), outcome)
    runner.land()
    return outcome


def with_little_memory(place: Workplace, work: Any) -> None:
    place.free()
    free = torch.cuda.mem_get_info(place.device)[0]
    taken = torch.empty(max(0, free - LEFT), dtype=torch.uint8, device=place.device)
    try:
        work()
    finally:
        del taken
        place.free()


def failed_capture(place: Workplace) -> dict[str, str]:
    """What still works after one, in a process of its own, which it may harm."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu.failed_capture", str(place.tiny)],
        capture_output=True,
        text=True,
        timeout=PROBE_TIMEOUT,
        cwd=ROOT,
    )
    if done.returncode:
        return {"process": (done.stderr.strip().splitlines() or ["no output"])[-1][:500]}
    told: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return told


def sampling(place: Workplace, section: Section) -> None:
    """No choice of tokens makes the host wait for the device: CUDA raises an error where one would."""
    runner, processor = place.runner(place.tiny, max_model_len=512, slots=2), Processor(place.tiny)
    logits = torch.randn(2, runner.model.vocabulary, device=place.device)
    for name, params in SAMPLING.items():
        requests = [place.request(processor, (56, 56), slot, **params) for slot in range(2)]
        pick(logits, requests)  # allocates what lasts
        place.clock.wait()
        section.holds(f"{name} does not wait", waits(place, partial(pick, logits, requests)), "")
        section.figures[f"{name}, 2 rows: ms"] = place.clock.median(partial(pick, logits, requests))


def waits(place: Workplace, work: Any) -> str:
    """The first place where the host would wait, empty if there is none."""
    if not place.on_gpu:
        work()
        return ""
    torch.cuda.set_sync_debug_mode("error")
    try:
        work()
    except RuntimeError as error:
        return str(error)[:200]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return ""
