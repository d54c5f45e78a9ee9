"""The fastest of several ways to the same result, by measuring them on the device at start; never by its name.

A way that cannot run there is left out: it is tried once, outside any capture.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from engine.decode_attention import (
    DecodeAttention,
    KernelAttention,
    StoredAttention,
    flash_lengths,
    mask_beyond,
)
from engine.kv_cache import KVCache
from engine.timer import REPETITIONS, Timer
from models.paddleocr_vl.attention import (
    FullAttention,
    decode_attention,
    decode_by_products,
    decode_flash,
    decode_split,
    full_by_products,
    full_cudnn,
    full_efficient,
    full_flash,
    full_fused,
)
from models.paddleocr_vl.gpu import FewRows, use_decoder_kernels, use_vision_kernels
from models.paddleocr_vl.kernels import ROWS, SOURCE, TENSOR_CORES, Kernels, defines
from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.nvrtc import KernelError, Module
from models.paddleocr_vl.slices import run
from models.protocol import Sliced

if TYPE_CHECKING:
    from models.paddleocr_vl.cpu_attention import CpuAttention

logger = logging.getLogger(__name__)

FLASH_CAPABILITY = (8, 0)  # needed by FlashAttention and cuDNN's attention, in two-byte dtypes
IMAGE_PATCHES = {"cpu": (1024,), "cuda": (1024, 5184)}  # 448 px and 1 MP
SHAPES = 64  # images have so many shapes in turn: some kernels plan for long where a shape is new, as most are
DECODED = ((1, 1024), (8, 1024), (32, 1024))  # rows, and tokens of each: usual batches of a decode step

Way = TypeVar("Way")


def fastest(what: str, seconds: Mapping[str, float], ways: Mapping[str, Way]) -> Way:
    """The way of least seconds; the log tells all of them."""
    logger.info("%s: %s", what, ", ".join(f"{name} {took * 1e3:.2f} ms" for name, took in seconds.items()))
    return ways[min(seconds, key=seconds.__getitem__)]


def flash_exists(device: torch.device, dtype: torch.dtype) -> bool:
    """FlashAttention and cuDNN's attention may run."""
    if device.type != "cuda" or dtype.itemsize != 2:
        return False
    return torch.cuda.get_device_capability(device) >= FLASH_CAPABILITY


def has_tensor_cores(device: torch.device, dtype: torch.dtype) -> bool:
    """Tensor cores take this dtype, by the instructions that our own kernel uses."""
    return dtype in TENSOR_CORES and torch.cuda.get_device_capability(device) >= TENSOR_CORES[dtype]


# --- the vision tower ---------------------------------------------------------------------------------------------


def vision_attention(
    device: torch.device, dtype: torch.dtype, config: Any, kernels: Kernels | None = None, exact: bool = False
) -> FullAttention:
    """The vision tower's attention; `config` is the vision config. `exact`: nothing is rounded in fp32."""
    ways: list[FullAttention] = [full_fused]
    if device.type == "cuda":
        ways = [full_efficient, *([full_flash, full_cudnn] if flash_exists(device, dtype) else [])]
        ways += [kernels.attend_image] if kernels and has_tensor_cores(device, dtype) else []
    elif dtype == torch.bfloat16:
        ways += [full_by_products, *_own_in_images(config, dtype)]
    elif not exact:
        ways = _own_in_images(config, dtype) or ways  # in fp32 nothing else is as fast
    if len(ways) == 1:
        return ways[0]
    patches = IMAGE_PATCHES[device.type]
    seconds = {way.__name__: _seconds_of_images(way, patches, device, dtype, config) for way in ways}
    told = f"Attention in images of {' and '.join(map(str, patches))} patches"
    return fastest(told, seconds, {way.__name__: way for way in ways})


def _own_in_images(config: Any, dtype: torch.dtype) -> list[FullAttention]:
    """Our kernel for CPUs, if it can be compiled."""
    try:
        from models.paddleocr_vl.cpu_image_attention import CpuImageAttention  # needs LLVM, which a GPU does without

        heads = config.num_attention_heads
        return [CpuImageAttention(heads, config.hidden_size // heads, dtype).full_by_whole_numbers]
    except (RuntimeError, ImportError) as error:
        logger.debug("Attention in images is PyTorch's: %s", error)
        return []


def use_own_rotation(model: PaddleOCRVL, dtype: torch.dtype) -> None:
    """Let a model on a CPU rotate heads by our own kernel, if it can be compiled."""
    try:
        from models.paddleocr_vl.cpu_rope import rotation  # needs LLVM, which a GPU does without

        for part in (model.visual, model.text):
            rotate = rotation(part.head_dim, dtype)
            for layer in part.layers:
                setattr(layer, "rotate", rotate)  # noqa: B010 - PyTorch's types allow modules and tensors alone
    except (RuntimeError, ImportError) as error:
        logger.debug("Heads are rotated by PyTorch: %s", error)


_shapes = count()


def _seconds_of_images(
    way: FullAttention, images: Sequence[int], device: torch.device, dtype: torch.dtype, config: Any
) -> float:
    """Time of attention in all layers of images of about so many patches, each of a new shape; inf: cannot run.

    Before that images of other shapes load the kernels, which is done once; what a shape costs that is new counts.
    """
    head_dim = config.hidden_size // config.num_attention_heads
    total = 0.0
    for index, about in enumerate([*images, *images]):
        patches = about + 4 * (next(_shapes) % SHAPES)
        qkv = torch.randn(1, patches, 3, config.num_attention_heads, head_dim, device=device).to(dtype)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        took = []
        for _ in range(REPETITIONS):
            start = time.perf_counter()
            try:
                run(way(q, k, v, 256 if device.type == "cpu" else None))
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
            except RuntimeError as error:
                logger.debug("%s cannot run here: %s", way.__name__, error)
                return float("inf")
            took.append(time.perf_counter() - start)
        if index >= len(images):
            total += took[0] + (config.num_hidden_layers - 1) * min(took[1:])
    return total


# --- the decoder --------------------------------------------------------------------------------------------------


@torch.inference_mode()
def fuse_layers(model: PaddleOCRVL, timer: Timer) -> Kernels | None:
    """Let a model on a GPU compute by our own kernels where they are faster than PyTorch's; None: there are none."""
    dtype = model.text.embed_tokens.weight.dtype
    try:
        macros = defines(model.config, dtype, model.residual_dtype, has_tensor_cores(timer.device, dtype))
        kernels = Kernels(Module(SOURCE.read_text(encoding="utf-8"), macros))
    except (KernelError, OSError) as error:
        logger.warning("PyTorch's kernels are used alone, which is slower: %s", error)
        return None
    _fuse_decoder(model, kernels, timer)
    _fuse_vision(model, kernels, timer)
    return kernels


def _fuse_decoder(model: PaddleOCRVL, kernels: Kernels, timer: Timer) -> None:
    plain = {rows: _decoder_seconds(model, rows, timer) for rows in ROWS}
    few = FewRows(0)
    restore = use_decoder_kernels(model, kernels, few)
    many = {rows: _decoder_seconds(model, rows, timer) for rows in ROWS}
    few.most = max(ROWS)
    own = {rows: _decoder_seconds(model, rows, timer) for rows in ROWS}
    few.most = max((rows for rows in ROWS if own[rows] < many[rows]), default=0)
    told = ", ".join(
        f"{rows} rows {plain[rows] * 1e3:.2f}, {many[rows] * 1e3:.2f} or {own[rows] * 1e3:.2f}" for rows in ROWS
    )
    logger.info("A decode step but for attention, ms by PyTorch, with our kernels, or with our products: %s", told)
    if sum(min(many[rows], own[rows]) for rows in ROWS) >= sum(plain.values()):
        restore()


def _fuse_vision(model: PaddleOCRVL, kernels: Kernels, timer: Timer) -> None:
    plain = _layer_seconds(model, timer)
    restore = use_vision_kernels(model, kernels)
    own = _layer_seconds(model, timer)
    logger.info("A layer of the vision tower, ms by PyTorch or with our kernels: %.2f or %.2f", plain * 1e3, own * 1e3)
    if own >= plain:
        restore()


def _layer_seconds(model: PaddleOCRVL, timer: Timer) -> float:
    """Seconds of a layer of the vision tower without attention, for an image of 448 px."""
    tower = model.visual
    dtype, hidden = tower.patch_embedding.weight.dtype, len(tower.patch_embedding.weight)
    patches = IMAGE_PATCHES["cuda"][0]
    x = torch.randn(patches, hidden, device=timer.device).to(model.residual_dtype)
    angles = torch.randn(2, patches, 1, tower.head_dim, device=timer.device).unbind(0)
    layer, norm = tower.layers[0], tower.post_layernorm

    def attend(qkv: Tensor, _queries: int | None) -> Sliced[Tensor]:
        yield
        return qkv[:, : qkv.shape[1] // 3].flatten(1)

    return timer.seconds(lambda: run(layer(x.clone(), [x.to(dtype)], angles, attend, None, norm)))


def _decoder_seconds(model: PaddleOCRVL, rows: int, timer: Timer) -> float:
    """Seconds of a decode step without attention."""
    tokens = torch.zeros(rows, dtype=torch.int64, device=timer.device)
    positions = tokens.expand(3, -1)

    def work() -> Tensor:
        return model.logits(model.decode(model.embed(tokens), positions, lambda _layer, q, _kv: q.contiguous()))

    return timer.seconds(work)


@torch.inference_mode()
def decode_attention_over(cache: KVCache, heads: int, kernels: Kernels | None, timer: Timer | None) -> DecodeAttention:
    """The decoder's attention of new tokens, with `heads` query heads; `timer`: None on a CPU."""
    mask = mask_beyond(cache.dtype)
    ways: dict[str, DecodeAttention] = {"fused": StoredAttention(cache, decode_attention, mask)}
    if timer is None:
        return _own_on_cpu(cache, heads) or ways["fused"]
    ways["products"] = StoredAttention(cache, decode_by_products, mask)
    ways["split"] = StoredAttention(cache, decode_split, mask)
    if flash_exists(timer.device, cache.dtype):
        ways["flash"] = StoredAttention(cache, decode_flash, flash_lengths(cache))
    if kernels is not None:
        ways["own kernel"] = KernelAttention(cache, kernels)
    seconds = {
        name: sum(_attend_seconds(way, cache, heads, *size, timer) for size in DECODED) for name, way in ways.items()
    }
    return fastest("Attention of decode steps", seconds, ways)


def _own_on_cpu(cache: KVCache, heads: int) -> DecodeAttention | None:
    """Attention by our own kernel where there is one: nothing else is as fast there, so nothing is measured."""
    kv_heads, head_dim = cache.entries.shape[3], cache.entries.shape[5]
    kernel = _cpu_attention(heads, kv_heads, head_dim, cache.dtype, cache.entries.dtype)
    return KernelAttention(cache, kernel) if kernel else None


def _cpu_attention(*shape: Any) -> "CpuAttention | None":
    try:
        from models.paddleocr_vl.cpu_attention import CpuAttention  # needs LLVM, which a GPU does without

        return CpuAttention(*shape)
    except (RuntimeError, ImportError) as error:
        logger.debug("Attention of decode steps is PyTorch's: %s", error)
        return None


def cache_dtype(device: torch.device, dtype: torch.dtype, config: Any, weights: str) -> torch.dtype:
    """The dtype that keys and values are stored in; `config` is the text config, `weights` the setting.

    fp16 beside fp32 where our own kernel for CPUs reads them and weights have few bits, of which less is read: a step
    of eight answers reads as many bytes of keys and values in fp32 as of weights in 8 bits. With WEIGHTS=auto, one text
    of 580 changed by it.
    """
    shape = config.num_attention_heads, config.num_key_value_heads, config.head_dim, dtype, torch.float16
    narrow = device.type == "cpu" and dtype == torch.float32 and weights in ("int8", "int4")
    return torch.float16 if narrow and _cpu_attention(*shape) else dtype


def _attend_seconds(way: DecodeAttention, cache: KVCache, heads: int, rows: int, length: int, timer: Timer) -> float:
    """Seconds of attention in all layers of a decode step; the cache is empty afterwards."""
    layers, slots, _, kv_heads, _, head_dim = cache.entries.shape
    rows, length = min(rows, slots), min(length, cache.scratch)
    tokens = torch.randn(rows, heads + 2 * kv_heads, head_dim, device=timer.device).to(cache.dtype)
    positions = torch.full((rows,), length - 1, device=timer.device)

    def work() -> None:
        attend = way.of_block(slice(0, rows), length, positions)
        for layer in range(layers):
            attend(layer, tokens[:, :heads], tokens[:, heads:])

    seconds = timer.seconds(work)
    for slot in range(rows):
        cache.clear(slot, slice(length - 1, length))
    return seconds
