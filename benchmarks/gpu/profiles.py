"""The kernels behind the times: how often each runs in a decode step, an image or a prompt, and for how long."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.report import Section
from benchmarks.gpu.requests import bare_request, decode, encode, prefill, prefill_alone
from benchmarks.gpu.workplace import Workplace
from engine.model_runner import ModelRunner
from models.paddleocr_vl.processor import Processor

STEPS = 20
SHOWN = 15  # kernels, by their total time
NAME_CHARS = 100


def profiles(place: Workplace, section: Section) -> None:
    """Kernels on a GPU; on a CPU, PyTorch's operations."""
    runner, processor = place.runner(place.big), Processor(place.big)
    for rows in place.rows:
        section.figures[f"decode step at {rows} rows"] = profiled(place, partial(steps, place, runner, rows), STEPS)
    for name, size in place.sizes.items():
        request = place.request(processor, size)
        prompt: Any = request.prompt
        pixels = torch.from_numpy(prompt.pixels).to(place.device)
        prefill(runner, request)  # its features are cached from now on
        section.figures[f"vision {name}"] = profiled(place, partial(encode, runner, pixels, prompt.grids))
        section.figures[f"prefill {name}"] = profiled(place, partial(prefill_alone, runner, request))


def steps(place: Workplace, runner: ModelRunner, rows: int) -> None:
    decode(runner, [bare_request(place.length, slot) for slot in range(rows)], STEPS)


def profiled(place: Workplace, work: Callable[[], Any], repeats: int = 1) -> dict[str, Any]:
    """Counts and times of one of the `repeats` that are in `work`; `longest`: name, count, mean us."""
    place.clock.once(work)
    activity = ProfilerActivity.CUDA if place.on_gpu else ProfilerActivity.CPU
    with profile(activities=[activity]) as recorded:
        place.clock.once(work)
    times = {}
    for event in recorded.key_averages():
        us = event.self_device_time_total if place.on_gpu else event.self_cpu_time_total
        if us > 0 and (event.device_type.name == "CUDA") == place.on_gpu:
            times[event.key] = (event.count, us)
    longest = sorted(times.items(), key=lambda item: -item[1][1])[:SHOWN]
    return {
        "kernels": round(sum(count for count, _ in times.values()) / repeats, 1),
        "busy_ms": round(sum(us for _, us in times.values()) / repeats / 1e3, 4),
        "longest": [[name[:NAME_CHARS], round(n / repeats, 1), round(us / n, 2)] for name, (n, us) in longest],
    }
