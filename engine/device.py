"""Chooses device, dtype and attention by what is available and what is measured, never by a name."""

import logging
import time
from typing import Any

import torch

from models.paddleocr_vl.attention import FullAttention, full_by_products, full_fused
from models.paddleocr_vl.slices import run

logger = logging.getLogger(__name__)

LOWEST_CAPABILITY = (6, 0)  # Pascal: the oldest that PyTorch's cu126 builds carry
BF16_CAPABILITY = (8, 0)  # Ampere: bf16 arithmetic in hardware
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CLEARLY_FASTER = 1.2  # a narrower dtype must be this much faster to be worth its rounding


class DeviceError(RuntimeError):
    """The machine cannot do what was asked for; the message says what it can do."""


def choose_device(requested: str, worker: int = 0) -> torch.device:
    """The device that `requested` (auto, cpu, cuda, cuda:N) means for this worker, counted from 0. Raises DeviceError.

    A GPU becomes the current one of this thread: CUDA creates events and streams on that, whatever they are for.
    """
    if requested == "auto":
        requested = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device("cuda", worker) if requested == "cuda" else torch.device(requested)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            available = f"PyTorch {torch.__version__} sees {count} GPUs"
            raise DeviceError(
                f"{device} is asked for, but {available}; DEVICE, WORKERS and CUDA_VISIBLE_DEVICES decide."
            )
        capability = torch.cuda.get_device_capability(device)
        if capability < LOWEST_CAPABILITY:
            name = torch.cuda.get_device_name(device)
            raise DeviceError(f"{name} has compute capability {capability[0]}.{capability[1]}; 6.0 is the minimum.")
        torch.cuda.set_device(device)
    return device


def choose_dtype(requested: str, device: torch.device, config: Any) -> torch.dtype:
    """The dtype of weights and cache; `auto` measures where it is not clear which one is faster."""
    if requested != "auto":
        return DTYPES[requested]
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= BF16_CAPABILITY:
        return torch.bfloat16
    narrow = torch.float16 if device.type == "cuda" else torch.bfloat16
    wide_time, narrow_time = (_matmul_seconds(dtype, device, config) for dtype in (torch.float32, narrow))
    logger.info("Matrix products of this model: fp32 %.2f ms, %s %.2f ms", wide_time * 1e3, narrow, narrow_time * 1e3)
    return narrow if wide_time > CLEARLY_FASTER * narrow_time else torch.float32


def _matmul_seconds(dtype: torch.dtype, device: torch.device, config: Any) -> float:
    """Best of five runs of a decoder layer's widest product, for a prompt and one token; inf if not finite."""
    weight = torch.randn(2 * config.intermediate_size, config.hidden_size, device=device).to(dtype)
    inputs = [torch.randn(rows, config.hidden_size, device=device).to(dtype) for rows in (256, 1)]
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        outputs = [x @ weight.T for x in inputs]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds) if all(bool(output.isfinite().all()) for output in outputs) else float("inf")


def choose_attention(device: torch.device, dtype: torch.dtype, config: Any) -> FullAttention:
    """The vision tower's faster attention on this device. Only a CPU in bf16 has a choice."""
    if device.type != "cpu" or dtype != torch.bfloat16:
        return full_fused
    head_dim = config.hidden_size // config.num_attention_heads
    q, k, v = torch.randn(3, 1, config.num_attention_heads, 1024, head_dim).to(dtype)
    seconds = {}
    for full in (full_fused, full_by_products):
        runs = []
        for _ in range(3):
            start = time.perf_counter()
            run(full(q, k, v, 256))
            runs.append(time.perf_counter() - start)
        seconds[full] = min(runs)
    logger.info("Attention over 1024 patches: %s", {full.__name__: f"{best:.3f} s" for full, best in seconds.items()})
    return min(seconds, key=seconds.__getitem__)
