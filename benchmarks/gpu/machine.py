"""The machine: its GPU, its software, and the maximum rates that every other figure is to be read against."""

import os
import platform

import torch
import transformers

from benchmarks.gpu.report import Section
from benchmarks.gpu.workplace import MIB, Workplace

COPIED = 2**30  # bytes
SIDE = 8192  # rows and columns of the matrices whose product is timed
LAUNCHES = 200


def machine(place: Workplace, section: Section) -> None:
    section.figures |= {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "cpu_cores": os.cpu_count(),
        "device": str(place.device),
    }
    if not place.on_gpu:
        return
    gpu = torch.cuda.get_device_properties(place.device)
    section.figures |= {
        "name": gpu.name,
        "capability": torch.cuda.get_device_capability(place.device),
        "multiprocessors": gpu.multi_processor_count,
        "memory_mb": gpu.total_memory // MIB,
        "free_mb": torch.cuda.mem_get_info(place.device)[0] // MIB,
        "architectures": torch.cuda.get_arch_list(),
        "cuda": torch.version.cuda,
    }
    source = torch.ones(min(COPIED, gpu.total_memory // 8), dtype=torch.uint8, device=place.device)
    target = torch.empty_like(source)
    copy = place.clock.median(lambda: target.copy_(source))
    side = SIDE if place.full else SIDE // 4
    matrix = torch.randn(side, side, device=place.device, dtype=torch.float16)
    product = place.clock.median(lambda: matrix @ matrix)
    launches = place.clock.median(lambda: [target[:1].add_(1) for _ in range(LAUNCHES)])
    section.figures |= {
        "copy_gb_per_second": round(2 * len(source) / copy / 1e6),
        "fp16_tflop_per_second": round(2 * side**3 / product / 1e9, 1),
        "launch_us": round(launches / LAUNCHES * 1e3, 1),
    }
