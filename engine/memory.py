"""The memory plan: how large prefill and slots may be, and how many slots fit beside the weights and caches.

Where memory is short, prefill and caches shrink first, which costs little time on a small device, and then a slot;
the number of slots shrinks last.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch
from torch import nn

from engine.config import DEFAULT_LENGTH, EngineConfig
from engine.device import DeviceError
from engine.kv_cache import slot_bytes

logger = logging.getLogger(__name__)

MIB = 2**20
MAX_SLOTS = {"cpu": 8, "cuda": 64}  # beyond these a step only gets slower
ENOUGH_SLOTS = 8  # prefill and length shrink until so many fit, unless SLOTS is set
LENGTHS = (DEFAULT_LENGTH, 6144, 4096, 3072, 2048)  # slots' tokens, unless MAX_MODEL_LEN is set
ANSWER_TOKENS = 768  # room in a slot beside the largest image: a block of text is 100 to 700
GROUP_TOKENS = {"cpu": 256, "cuda": 4096}  # at most; few on a CPU, where batching gains nothing
SLICE_ROWS = {"cpu": 1024, "cuda": 8192}  # patches of a slice of the vision tower, at most
PAGES = {"cpu": 1, "cuda": 2}  # in a batch of a layout network, 650 MiB each; a CPU gains nothing by several
IMAGE_TOKENS = 4096  # image of 3.2 MP, more than any release's settings allow
MIN_ROWS = 512
HALVINGS = 5  # sizes of prefill that are tried for each length of a slot
CHUNK_TOKENS = 1024  # a long prompt's chunk at least: smaller ones read their predecessors too often
IMAGE_CACHE_BYTES = 256 * MIB  # unless PICTURE_CACHE_BYTES is set; an image of 1 MP takes 2.5 MiB in two-byte dtypes
MIN_IMAGE_CACHE_BYTES = 32 * MIB
GRAPHS_BYTES = 288 * MIB  # for all CUDA graphs with their pool
ENCODE_GRAPHS_BYTES = 96 * MIB  # the part of it for the vision tower's, where it is whole
MIN_GRAPHS_BYTES = 64 * MIB  # for the batch sizes of few slots

# What is left free. The plan is made when CUDA's context and the weights are on the GPU. Later come kernels that are
# loaded at their first use, about 100 MiB, and changes of a desktop's windows.
SPARE_BYTES = 192 * MIB
SPARE_SHARE = 0.1  # share of a CPU's free memory, for other processes
# What PyTorch's allocator reserves over what it hands out, for prefill: a share and, on a GPU, an amount (H200: 120 to
# 400 MiB with FRAGMENTATION at 1.1).
FRAGMENTATION = 1.1
KEPT_BYTES = 176 * MIB


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is allowed at once; smaller sizes take less memory and more time."""

    length: int  # tokens of a slot
    group: int  # tokens of prompts that are prefilled together
    chunk: int  # tokens of a longer prompt that are in the decoder at once
    image: int  # tokens of the largest image, or of several that are encoded together
    rows: int  # patches of a slice of the vision tower
    graphs: int  # bytes for CUDA graphs
    images: int  # bytes of cached features
    pages: int = 1  # pages that a layout network looks at together

    def __str__(self) -> str:
        return (
            f"slots of {self.length} tokens; prefill of {self.group} tokens together, {self.chunk} of one prompt, "
            f"images of {self.image}, slices of {self.rows} patches"
        )


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """What a model will occupy at most, in bytes. CUDA's context and its kernels come on top."""

    weights: int
    prefill: int  # for the largest prompt, image, or group of them
    images: int  # cached features
    pages: int = 0  # pages that a network looks at, which may pause while a prompt is prefilled
    graphs: int  # captured decode steps, on a GPU
    workspaces: int  # the matrix libraries', on a GPU
    slots: int  # how many
    slot: int  # bytes of each, with its logits
    sizes: Sizes

    @property
    def total(self) -> int:
        return self.besides_slots + self.slots * self.slot

    @property
    def besides_slots(self) -> int:
        return self.weights + self.prefill + self.pages + self.images + self.graphs + self.workspaces

    def __str__(self) -> str:
        parts = {"weights": self.weights, "prefill": self.prefill}
        parts |= {"pages": self.pages} if self.pages else {}
        parts |= {"image cache": self.images}
        parts |= {"graphs": self.graphs, "workspaces": self.workspaces} if self.workspaces else {}
        sizes = [f"{name} {size / MIB:.0f}" for name, size in parts.items()]
        return f"{' + '.join(sizes)} + {self.slots} slots x {self.slot / MIB:.0f} = {self.total / MIB:.0f} MiB"


def plan(
    engine: EngineConfig,
    network: Any,
    device: torch.device,
    dtype: torch.dtype,
    *,
    stored: torch.dtype,
    image_tokens: int,
    weights: int,
    workspaces: int,
    free: int,
    page_bytes: int = 0,
) -> MemoryPlan:
    """The largest sizes with which enough slots fit, in `free` bytes or in GPU_MEMORY_LIMIT, and as many as then fit.

    The weights are loaded already. `network` is the checkpoint's config, `stored` the dtype of the KV cache,
    `image_tokens` the largest image by its own settings, `page_bytes` what a page takes while a network looks at it.
    Raises DeviceError where SLOTS, or even a single one, do not fit.
    """
    limit = engine.gpu_memory_limit if device.type == "cuda" else None
    room = free - SPARE_BYTES if device.type == "cuda" else int(free * (1 - SPARE_SHARE))
    if limit is not None:
        room = min(room, limit - weights)
    kept = KEPT_BYTES if device.type == "cuda" else 0
    best: tuple[int, MemoryPlan] | None = None  # the most slots that fit; the smallest sizes where none do
    for sizes in choices(engine, network, device.type, image_tokens):
        found = MemoryPlan(
            weights=weights,
            prefill=int(FRAGMENTATION * prefill_bytes(network, dtype, sizes)) + kept,
            pages=int(FRAGMENTATION * sizes.pages * page_bytes),
            images=sizes.images,
            graphs=sizes.graphs,
            workspaces=workspaces,
            slots=engine.slots or 1,
            slot=slot_bytes(network.text_config, sizes.length, stored) + logits_bytes(network),
            sizes=sizes,
        )
        fitting = (room + weights - found.besides_slots) // found.slot
        if engine.slots is None:
            found = replace(found, slots=max(1, min(fitting, MAX_SLOTS[device.type])))
        if fitting >= (engine.slots or ENOUGH_SLOTS):
            return found
        if best is None or best[0] < 1 or fitting > best[0]:
            best = fitting, found
    assert best is not None
    fitting, found = best
    if fitting >= found.slots:
        return found
    settings = "SLOTS, MAX_MODEL_LEN or PICTURE_CACHE_BYTES" if engine.slots else "MAX_MODEL_LEN or PICTURE_CACHE_BYTES"
    raise DeviceError(
        f"The model does not fit: {found}; {max(0, room) / MIB:.0f} MiB can be used besides the weights. "
        f"Lower {settings}{'' if limit is None else ' or raise GPU_MEMORY_LIMIT'}."
    )


def choices(engine: EngineConfig, network: Any, device: str, image_tokens: int) -> Iterator[Sizes]:
    """Sizes from the most to the least memory; lengths are those of `LENGTHS` unless MAX_MODEL_LEN is set.

    Several workers have the same length.
    """
    longest = network.text_config.max_position_embeddings
    least = min(max(LENGTHS[-1], image_tokens + ANSWER_TOKENS), longest)
    usual = [length for length in LENGTHS if least < length <= longest] + [least]
    if engine.workers > 1:  # a request may go to any worker, and their memory may differ
        usual = usual[:1]
    for length in usual if engine.max_model_len is None else [engine.max_model_len]:
        images = engine.image_cache_bytes
        graphs = GRAPHS_BYTES if device == "cuda" and engine.cuda_graphs else 0
        for halvings in range(HALVINGS):
            group = max(GROUP_TOKENS[device] >> halvings, GROUP_TOKENS["cpu"])
            yield Sizes(
                length=length,
                group=group,
                chunk=max(group, CHUNK_TOKENS if halvings else length),
                image=max(IMAGE_TOKENS >> halvings, image_tokens),
                rows=max(SLICE_ROWS[device] >> halvings, MIN_ROWS),
                graphs=graphs and max(graphs >> halvings, MIN_GRAPHS_BYTES),
                images=max(IMAGE_CACHE_BYTES >> halvings, MIN_IMAGE_CACHE_BYTES) if images is None else images,
                pages=max(PAGES[device] >> halvings, 1),
            )


def free_bytes(device: torch.device) -> int:
    """Memory that this process can still get; PyTorch's cached blocks are part of it."""
    if device.type != "cuda":
        return int(psutil.virtual_memory().available)
    release_cached()
    return int(torch.cuda.mem_get_info(device)[0])


def release_cached() -> None:
    """Return the memory that PyTorch's allocator caches to the driver, for other processes and for graphs.

    PyTorch refuses where it takes a capture for unfinished. That must not end the thread that makes room after some
    other failure.
    """
    try:
        torch.cuda.empty_cache()
    except RuntimeError as error:
        logger.warning("Cached GPU memory cannot be released: %s", error)


def workspace_bytes(device: torch.device, *, pages: bool = False) -> int:
    """Memory that cuBLAS gets from PyTorch for each thread and stream: the engine's with two streams, that of captures
    being the second, and with `pages` the thread of networks that look at pages.
    """
    if device.type != "cuda":
        return 0
    hopper = torch.cuda.get_device_capability(device) >= (9, 0)
    return (2 + pages) * (32 if hopper else 9) * MIB


def is_shortage(error: Exception) -> bool:
    """Memory has run out. On a CPU, PyTorch raises a RuntimeError that names its allocator; CUDA has several errors."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(sign in str(error) for sign in ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED"))


def weight_bytes(module: nn.Module) -> int:
    """Bytes of parameters, and of weights that layers for CPUs store in a form of their own."""
    parameters = sum(parameter.numel() * parameter.dtype.itemsize for parameter in module.parameters())
    return parameters + sum(getattr(part, "stored", 0) for part in module.modules())


# --- what is alive at once, in bytes; each term names the tensors of a function ---------------------------------------


def logits_bytes(network: Any) -> int:
    """Logits of one row in fp32: the decode stage's buffer, a step's own, and two temporaries of logsumexp."""
    return int(4 * network.text_config.vocab_size * 4)


def prefill_bytes(network: Any, dtype: torch.dtype, sizes: Sizes) -> int:
    """Maximum bytes of a prefill: the features of a prompt, all of whose tokens may be images', and a stage's work."""
    tokens = max(sizes.length, sizes.group)
    features = tokens * network.text_config.hidden_size * dtype.itemsize
    patches = min(sizes.image, tokens) * network.vision_config.spatial_merge_size**2
    vision = vision_bytes(network.vision_config, dtype, patches, sizes.rows)
    embedding = embedding_bytes(network.text_config, dtype, tokens)
    return features + max(vision, embedding, decoder_bytes(network.text_config, dtype, tokens, sizes.chunk))


def vision_bytes(config: Any, dtype: torch.dtype, patches: int, rows: int) -> int:
    """`VisionLayer` at its widest: where positions are rotated, slices joined, or in the feed-forward network."""
    narrow, wide = dtype.itemsize, residual_bytes(dtype)
    hidden, inner = config.hidden_size, config.intermediate_size
    slices = -(-patches // rows)
    sliced, rows = slices > 1, -(-patches // slices)
    pixels = config.num_channels * config.patch_size**2 * 4
    angles = 2 * (hidden // config.num_attention_heads) * 4  # cosines and sines
    stream = hidden * (wide + narrow)  # the residual stream and its norm
    qkv = 3 * hidden * narrow
    attended = hidden * narrow
    attention = patches * (2 * qkv if sliced else qkv + attended)
    rotation = patches * qkv + rows * 2 * hidden * (4 + 4 + narrow)  # queries and keys, with fp32 temporaries
    # The stream after attention, and the wide tensor before and after GELU; with slices also that of the slice before,
    # and the layer's outputs so far.
    feed_forward = patches * attended + rows * (stream + (3 if sliced else 2) * inner * narrow)
    joining = patches * (attended + stream + hidden * wide) + rows * (hidden * wide + inner * narrow)
    if sliced:
        feed_forward = max(feed_forward + patches * stream, joining)
    return int(patches * (pixels + angles + stream) + max(rotation, attention, feed_forward))


def embedding_bytes(config: Any, dtype: torch.dtype, tokens: int) -> int:
    """`PaddleOCRVL.embed`: embeddings, joined features, both together; the scatter's mask and its int64 sums."""
    return int(tokens * config.hidden_size * (3 * dtype.itemsize + residual_bytes(dtype) + 1 + 8))


def decoder_bytes(config: Any, dtype: torch.dtype, tokens: int, chunk: int) -> int:
    """`TextLayer` at its widest: where positions are rotated, or in the feed-forward network."""
    narrow, wide = dtype.itemsize, residual_bytes(dtype)
    hidden, heads, kv_heads = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
    angles = 2 * config.head_dim * 4
    qkv = (heads + 2 * kv_heads) * config.head_dim * narrow
    rotation = qkv + (heads + kv_heads) * config.head_dim * (4 + 4 + narrow)  # queries and keys, with fp32 temporaries
    feed_forward = (hidden + 4 * config.intermediate_size) * narrow  # norm; gate and up, silu, product
    prompt = tokens * hidden * wide
    return int(prompt + min(tokens, chunk) * (angles + hidden * wide + max(rotation, feed_forward)))


def residual_bytes(dtype: torch.dtype) -> int:
    """Bytes of an element of the residual stream, which is fp32 beside fp16 weights."""
    return 4 if dtype == torch.float16 else dtype.itemsize
