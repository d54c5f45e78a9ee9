"""Chooses device and dtype by what is available and what is measured, never by a name."""

import logging
import math
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from models.paddleocr_vl.cpu_products import has_bf16

logger = logging.getLogger(__name__)

DRIVER = Path("/proc/driver/nvidia/version")  # there while the driver is loaded
LOWEST_CAPABILITY = (6, 0)  # Pascal, by choice: the cu126 builds carry Maxwell (5.0) too
DEFAULT_BUILD_CAPABILITY = (7, 5)  # Turing: the oldest of PyTorch's builds for CUDA 13
BF16_CAPABILITY = (8, 0)  # Ampere: bf16 arithmetic in hardware
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CLEARLY_FASTER = 1.2  # a narrower dtype must be this much faster to be worth its rounding
FEW_SLOTS = 4  # fp16 is worth its rounding if fp32 leaves fewer

# A typical request of the 0.9B model, in products of a decoder layer's widest weight with so many rows. One image of
# 512 tokens, that is 2048 patches, is the compute of 600 products of 256 rows. 150 tokens of answer read the decoder
# and the output head once each, 57 times the weight.
PROMPT_ROWS, PROMPT_PRODUCTS = 256, 600
STEP_PRODUCTS = 150 * 57


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
        _check_capability(device)
        torch.cuda.set_device(device)
        # Sums of narrow products stay fp32 throughout; PyTorch may else add partial sums in fp16 or bf16.
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    return device


def unused_gpu() -> str | None:
    """Why PyTorch does not see this machine's NVIDIA GPU, and what to do; None where it does, or there is none."""
    if torch.cuda.is_available() or not DRIVER.exists():
        return None
    installed = f"This machine has an NVIDIA GPU, and PyTorch {torch.__version__}"
    if torch.version.cuda is None:
        return (
            f"{installed} is a build for CPUs. Install one for GPUs: TORCH_BUILD=cu130 scripts/setup, or cu126 "
            f"below compute capability {_version(DEFAULT_BUILD_CAPABILITY)}."
        )
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        visible = os.environ["CUDA_VISIBLE_DEVICES"]
        return f"{installed} sees none with CUDA_VISIBLE_DEVICES={visible!r}. Set it to 0, or leave it out."
    version = re.search(r"\d+\.\d+(?:\.\d+)?", DRIVER.read_text())
    return (
        f"{installed}, built for CUDA {torch.version.cuda}, cannot use it with driver {version and version[0]}. "
        "Install a newer one (CUDA 13 needs 580, CUDA 12.6 needs 560), or type TORCH_BUILD=cu126 scripts/setup. In a "
        "container, start it with --gpus all."
    )


def _check_capability(device: torch.device) -> None:
    """Raises DeviceError for a GPU that is too old, or for which this PyTorch has no kernels."""
    capability = torch.cuda.get_device_capability(device)
    named = f"{torch.cuda.get_device_name(device)} has compute capability {_version(capability)}"
    if capability < LOWEST_CAPABILITY:
        raise DeviceError(f"{named}; {_version(LOWEST_CAPABILITY)} is the minimum.")
    built = torch.cuda.get_arch_list()
    if not any(runs_on(arch, capability) for arch in built):
        build = "cu126" if capability < DEFAULT_BUILD_CAPABILITY else "cu130"
        raise DeviceError(
            f"{named}, for which PyTorch {torch.__version__} has no kernels ({', '.join(built)}). Install the build "
            f"that has them, TORCH_BUILD={build} (scripts/setup), or leave this GPU out by CUDA_VISIBLE_DEVICES."
        )


def runs_on(arch: str, capability: tuple[int, int]) -> bool:
    """Whether code for `arch`, such as sm_86 or compute_90, runs on a GPU of this compute capability.

    sm_XY is binary code for its major version from minor Y on, with an `a` for that capability alone; compute_XY is
    compiled by the driver for any GPU from X.Y on.
    """
    found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
    if found is None:
        return False
    kind, major, minor, kin = found.groups()
    own = int(major), int(minor)
    if kin == "a":
        return capability == own
    return capability >= own and (capability[0] == own[0] or (kind == "compute" and not kin))


def _version(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def choose_dtype(requested: str, device: torch.device, config: Any, slots: Callable[[torch.dtype], int]) -> torch.dtype:
    """The dtype of weights and cache. Raises DeviceError for one that the GPU lacks.

    `auto` takes bf16 where a GPU has it; elsewhere what is faster for a typical request, or on a GPU fp16 where fp32
    leaves room for few `slots`.
    """
    bf16 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= BF16_CAPABILITY
    if requested != "auto":
        if requested == "bfloat16" and device.type == "cuda" and not bf16:
            raise DeviceError(
                f"DTYPE=bfloat16 needs compute capability {_version(BF16_CAPABILITY)}; "
                f"{torch.cuda.get_device_name(device)} has {_version(torch.cuda.get_device_capability(device))}. "
                "Use float16, float32 or auto."
            )
        return DTYPES[requested]
    if bf16:
        return torch.bfloat16
    if device.type == "cpu" and not has_bf16():
        return torch.float32  # to measure what is emulated would take a second of each start
    narrow = torch.float16 if device.type == "cuda" else torch.bfloat16
    wide_time, narrow_time = (request_seconds(dtype, device, config) for dtype in (torch.float32, narrow))
    logger.info("Matrix products of a request: fp32 %.1f s, %s %.1f s", wide_time, narrow, narrow_time)
    if device.type == "cuda" and math.isfinite(narrow_time) and slots(torch.float32) < FEW_SLOTS:
        logger.info("fp16, since fp32 leaves memory for fewer than %d requests at once", FEW_SLOTS)
        return narrow
    return narrow if wide_time > CLEARLY_FASTER * narrow_time else torch.float32


def request_seconds(dtype: torch.dtype, device: torch.device, config: Any) -> float:
    """Seconds of the matrix products of a typical request: bound by arithmetic in prefill, by memory in decoding."""
    prompt, step = (_matmul_seconds(dtype, device, config, rows) for rows in (PROMPT_ROWS, 1))
    return PROMPT_PRODUCTS * prompt + STEP_PRODUCTS * step


def _matmul_seconds(dtype: torch.dtype, device: torch.device, config: Any, rows: int) -> float:
    """Best of five runs of a decoder layer's widest product, for so many tokens; inf if not finite."""
    weight = torch.randn(2 * config.intermediate_size, config.hidden_size, device=device).to(dtype)
    x = torch.randn(rows, config.hidden_size, device=device).to(dtype)
    runs = 20 if device.type == "cuda" else 1  # launched together: one alone may be shorter than its launch
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(runs):
            output = x @ weight.T
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append((time.perf_counter() - start) / runs)
    return min(seconds) if bool(output.isfinite().all()) else float("inf")
