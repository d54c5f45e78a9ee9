"""The memory plan beside the memory seen: the most that PyTorch reserved while the plan was used to its limits."""

from typing import Any

import torch

from benchmarks.gpu.report import Section
from benchmarks.gpu.requests import Size, bare_request, decode, network
from benchmarks.gpu.workplace import MIB, Workplace
from engine.model_runner import ModelRunner
from engine.request import Sequence as Request
from models.paddleocr_vl.processor import Processor
from models.paddleocr_vl.slices import run

MIN_SHARE = 0.7  # share of the plan; a plan far above what is used wastes slots
LIMIT = 3 * 10**9  # bytes, for 8 slots of 4096 tokens and images of 1 megapixel
MEGAPIXEL: Size = (1008, 1008)
SMALL: Size = (140, 140)
STEPS = 4
IMAGE_TOKENS = 1296  # a megapixel's


def memory(place: Workplace, section: Section) -> None:
    """Plans of 32 slots and of 8 slots within a limit, each used to its limits."""
    small = {"slots": 2, "max_model_len": 512} if place.small else {}
    _used(place, section, "32 slots", place.runner(place.big, **small))
    place.free()
    tight = small or {"slots": 8, "max_model_len": 4096, "gpu_memory_limit": LIMIT}
    try:
        peak = _used(place, section, "8 slots in 3 GB", place.runner(place.big, **tight))
        section.speed("8 slots of 4096 and 1 MP, bytes", peak, most=LIMIT)
    finally:
        if place.on_gpu:
            torch.cuda.set_per_process_memory_fraction(1.0, place.device)


def _used(place: Workplace, section: Section, name: str, runner: ModelRunner) -> int:
    """Bytes that PyTorch reserved at most, with bars on their share of the plan."""
    fill_images(runner)
    prefill_group(place, runner)
    for rows in (1, runner.slots):
        decode(runner, [bare_request(place.length, slot) for slot in range(rows)], STEPS)
    planned = runner.plan.total
    told: dict[str, Any] = {"plan": str(runner.plan), "planned_mb": planned // MIB}
    section.figures[name] = told
    if not place.on_gpu:
        return 0
    free, total = torch.cuda.mem_get_info(place.device)
    peak = torch.cuda.max_memory_reserved(place.device)
    told |= {
        "peak_reserved_mb": peak // MIB,
        "peak_allocated_mb": torch.cuda.max_memory_allocated(place.device) // MIB,
        "outside_pytorch_mb": (total - free - torch.cuda.memory_reserved(place.device)) // MIB,
    }
    section.speed(f"{name}: peak over plan", peak / planned, most=1.0, least=MIN_SHARE)
    return peak


def fill_images(runner: ModelRunner) -> None:
    """Cache features as large as an image's until they displace each other."""
    features = torch.zeros(IMAGE_TOKENS, network(runner).config.text_config.hidden_size, dtype=runner.dtype)
    before = -1
    while runner.image_cache_bytes > before:
        before = runner.image_cache_bytes
        runner.images.add(str(before).encode(), features.to(runner.device))


@torch.inference_mode()
def prefill_group(place: Workplace, runner: ModelRunner) -> None:
    """Prefill as many prompts together as the scheduler may choose."""
    processor, group, tokens = Processor(place.big), list[Request](), 0
    while len(group) < runner.slots:
        request = place.request(processor, SMALL if place.small else MEGAPIXEL, len(group))
        tokens += len(request.prompt.input_ids)
        if group and tokens > runner.max_prefill_tokens:
            break
        group.append(request)
    run(runner.prefill.run_sliced(group))
