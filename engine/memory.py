"""The memory plan: maximum bytes of weights, prefill, image cache, graphs and slots, and how many slots fit."""

from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import nn

from engine.device import DeviceError

MAX_SLOTS = {"cpu": 8, "cuda": 64}  # beyond these a step only gets slower
LEFT_FREE = 0.1  # share of memory for the allocator's fragmentation, and on a CPU for other processes
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """What a model will occupy at most, in bytes. The libraries' own memory comes on top and cannot be planned."""

    weights: int
    prefill: int  # at most, for the largest prompt or group of prompts
    images: int  # cached features
    graphs: int  # captured decode steps, on a GPU
    slots: int  # how many
    slot: int  # bytes of each

    @property
    def total(self) -> int:
        return self.weights + self.prefill + self.images + self.graphs + self.slots * self.slot

    def __str__(self) -> str:
        parts = {"weights": self.weights, "prefill": self.prefill, "image cache": self.images}
        parts |= {"graphs": self.graphs} if self.graphs else {}
        sizes = [f"{name} {size / MIB:.0f}" for name, size in parts.items()]
        return f"{' + '.join(sizes)} + {self.slots} slots x {self.slot / MIB:.0f} = {self.total / MIB:.0f} MiB"


def plan(
    device: torch.device,
    *,
    weights: int,
    prefill: int,
    images: int,
    graphs: int,
    slot: int,
    slots: int | None,
    limit: int | None,
) -> MemoryPlan:
    """A plan with as many slots as fit (or `slots`), in free memory or `limit` bytes; the weights are loaded already.

    Raises DeviceError where `slots`, or even a single one, do not fit.
    """
    free = free_bytes(device)
    if limit is not None:
        free = min(free, limit - weights)
    room = int(free * (1 - LEFT_FREE)) - prefill - images - graphs
    fitting = min(MAX_SLOTS[device.type], max(0, room) // slot)
    wanted = slots or max(1, fitting)
    planned = MemoryPlan(weights=weights, prefill=prefill, images=images, graphs=graphs, slots=wanted, slot=slot)
    if wanted * slot > room:
        settings = "SLOTS, MAX_MODEL_LEN or PICTURE_CACHE_BYTES" if slots else "MAX_MODEL_LEN or PICTURE_CACHE_BYTES"
        bound = "" if limit is None else " or raise GPU_MEMORY_LIMIT"
        raise DeviceError(
            f"The model does not fit: {planned}; {free / MIB:.0f} MiB are left besides the weights, of which "
            f"{LEFT_FREE:.0%} stay free. Lower {settings}{bound}."
        )
    return planned


def free_bytes(device: torch.device) -> int:
    free: int = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    return free


def is_shortage(error: Exception) -> bool:
    """Memory has run out. On a CPU, PyTorch raises a RuntimeError that names its allocator; CUDA has several errors."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(sign in str(error) for sign in ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED"))


def weight_bytes(module: nn.Module) -> int:
    return sum(parameter.numel() * parameter.dtype.itemsize for parameter in module.parameters())


def prefill_bytes(config: Any, tokens: int, rows: int, dtype: torch.dtype) -> int:
    """Maximum bytes of a prefill of `tokens`, all of them images', in slices of `rows` patches.

    Counts the tensors that are alive at once in `VisionLayer` and `TextLayer`; the residual stream of fp16 is fp32.
    """
    vision, text = config.vision_config, config.text_config
    narrow = dtype.itemsize
    wide = 4 if dtype == torch.float16 else narrow
    patches = tokens * vision.spatial_merge_size**2
    rows = min(patches, rows)
    pixels = patches * vision.num_channels * vision.patch_size**2 * (4 + narrow)
    # The residual stream before and after a layer; q, k, v by slices and whole; attended, with copies by head.
    layer = patches * vision.hidden_size * (3 * wide + 12 * narrow)
    inside = rows * (2 * vision.intermediate_size * narrow + 4 * vision.hidden_size * 4)
    heads = (text.num_attention_heads + 2 * text.num_key_value_heads) * text.head_dim
    prompt = tokens * (
        text.hidden_size * (3 * wide + 8) + heads * (3 * narrow + 8) + 4 * text.intermediate_size * narrow
    )
    logits = 2 * MAX_SLOTS["cuda"] * text.vocab_size * 4
    return int(max(pixels + layer + inside, prompt + tokens * text.hidden_size * narrow) + logits)
