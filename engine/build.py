"""EngineConfig -> a loaded model, with its device, dtype, memory plan, KV cache and runner.

Besides engine/fastest.py, which gives a network our kernels, this is the only file in the engine that names one:
another that fulfils models/protocol.py comes in here. Their neighbours take nothing but functions of attention, kernels
and the slicing of work from models/paddleocr_vl.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Thread, main_thread

import torch

from engine.config import DEFAULT_LENGTH, EngineConfig
from engine.cuda_graphs import GpuCapture, graphs_for
from engine.decode import Decode
from engine.device import DeviceError, choose_device, choose_dtype, unused_gpu
from engine.encode import Encode
from engine.fastest import (
    cache_dtype,
    decode_attention_over,
    flash_exists,
    fuse_layers,
    use_own_rotation,
    vision_attention,
)
from engine.image_cache import ImageCache
from engine.kv_cache import KVCache
from engine.look import Look
from engine.memory import (
    ENCODE_GRAPHS_BYTES,
    GRAPHS_BYTES,
    MemoryPlan,
    free_bytes,
    plan,
    weight_bytes,
    workspace_bytes,
)
from engine.model_runner import ModelRunner
from engine.pace import slices_for
from engine.prefill import Prefill
from engine.preparation import Preparation
from engine.products import choose_products, stored_bytes
from engine.recorded_steps import RecordedSteps, can_be_recorded
from engine.structured import Structures
from engine.threads import compute_threads, lower_priority
from engine.timer import Timer
from models.cache_folder import cache_folder
from models.layout.networks import PageNetworks, load_networks
from models.paddleocr_vl.cpu_linear import BlockLinear
from models.paddleocr_vl.cpu_products import Product, kind_of, layers_in_blocks, pack
from models.paddleocr_vl.kept_weights import About, Keeper, find, keep
from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.processor import Processor
from models.paddleocr_vl.prompts import OCR
from models.paddleocr_vl.weights import fill, load_model, new_model, release, stored_dtype, weight_files
from models.protocol import InputProcessor

logger = logging.getLogger(__name__)

KEPT_WEIGHTS = 1 << 26  # at least: fewer are laid out in no time
EMBEDDINGS = "text.embed_tokens"
KEEPING = "weights"  # name of the thread


@dataclass(frozen=True, kw_only=True)
class Built:
    """A model that is ready to run, and what prepares its requests."""

    processor: InputProcessor
    preparation: Preparation
    runner: ModelRunner


def build(config: EngineConfig) -> Built:
    """Load the checkpoints. Raises CheckpointError, DeviceError, StoreError, ValueError."""
    processor = Processor(config.model)
    text = processor.config.text_config
    if config.max_model_len is not None and config.max_model_len > text.max_position_embeddings:
        raise ValueError(
            f"MAX_MODEL_LEN is {config.max_model_len}; this checkpoint's positions end at "
            f"{text.max_position_embeddings}"
        )
    runner = build_runner(config, processor)
    structures = Structures(processor.tokenizer, text.vocab_size, processor.eos_token_ids)
    sizes = runner.plan.sizes
    preparation = Preparation(
        processor, structures, sizes.length, max_image_pixels=sizes.image * pixels_per_token(processor), trial_text=OCR
    )
    return Built(processor=processor, preparation=preparation, runner=runner)


def build_runner(config: EngineConfig, processor: Processor) -> ModelRunner:
    """Load the weights and allocate the KV cache. Raises CheckpointError, DeviceError, LayoutError, StoreError."""
    device = choose_device(config.device, config.worker)
    if config.device == "auto" and (why := unused_gpu()) is not None:
        logger.warning("Running on the CPU. %s", why)
    _use_threads(config)
    _limit_gpu_memory(config.gpu_memory_limit, device)
    networks = load_networks(config.layout, config.orientation, config.unwarping, device)
    dtype = choose_dtype(
        config.dtype,
        device,
        processor.config.text_config,
        lambda dtype: _slots_in(dtype, config, processor, device, networks),
    )
    model, mapped = _load(config, processor, device, dtype)
    capture = GpuCapture(device) if device.type == "cuda" and config.cuda_graphs else None
    timer = Timer(device, capture) if device.type == "cuda" else None
    kernels = fuse_layers(model, timer) if timer else None
    if device.type == "cpu":
        use_own_rotation(model, dtype)
    vision, exact = processor.config.vision_config, config.weights in ("native", "fp16")
    model.visual.full_attention = vision_attention(device, dtype, vision, kernels, exact)
    weights = weight_bytes(model) + networks.weights
    free = free_bytes(device) - mapped  # mapped bytes count as free, as the system can read them again
    memory = _plan_memory(config, processor, device, dtype, weights, free, networks)
    sizes = memory.sizes
    logger.info("Memory: %s; %s", memory, sizes)
    if config.max_model_len is None and sizes.length < DEFAULT_LENGTH:
        logger.warning("A request may have %d tokens, not %d, for which memory is short", sizes.length, DEFAULT_LENGTH)
    text = processor.config.text_config
    stored = cache_dtype(device, dtype, text, config.weights)
    cache = KVCache(text, slots=memory.slots, length=sizes.length, device=device, dtype=dtype, stored=stored)
    attention = decode_attention_over(cache, text.num_attention_heads, kernels, timer)
    recorded = RecordedSteps(model, cache, attention) if can_be_recorded(model, attention) else None
    encode_graphs = flash_exists(device, dtype) and sizes.graphs == GRAPHS_BYTES
    encode_bytes = ENCODE_GRAPHS_BYTES if encode_graphs else 0
    images = ImageCache(sizes.images)
    prefill = Prefill(
        model=model,
        cache=cache,
        images=images,
        encode=Encode(model, sizes.rows, device, graphs_for(device, capture, encode_bytes) if encode_graphs else None),
        max_patches=(sizes.image if device.type == "cuda" else sizes.group) * processor.merge**2,
        chunk=sizes.chunk,
    )
    return ModelRunner(
        model=model,
        cache=cache,
        images=images,
        prefill=prefill,
        decode=Decode(model, cache, attention, graphs_for(device, capture, sizes.graphs - encode_bytes), recorded),
        look=Look(networks, at_once=sizes.pages, slices=slices_for(device), device=device),
        plan=memory,
        max_prefill_tokens=sizes.group,
        dtype=dtype,
    )


def _use_threads(config: EngineConfig) -> None:
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(compute_threads(config.workers))


def _limit_gpu_memory(limit: int | None, device: torch.device) -> None:
    if limit is None:
        return
    if device.type != "cuda":
        logger.warning("GPU_MEMORY_LIMIT has no effect: the model runs on %s.", device)
        return
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), device)


def _load(
    config: EngineConfig, processor: Processor, device: torch.device, dtype: torch.dtype
) -> tuple[PaddleOCRVL, int]:
    """The weights, laid out as the device computes with them fastest, and how many bytes of them are mapped from files.

    Raises CheckpointError, DeviceError.
    """
    if device.type != "cpu":
        if config.weights not in ("auto", "native"):
            raise DeviceError(f"WEIGHTS={config.weights} is for CPUs; this is {device}. Leave it at auto.")
        return load_model(config.model, processor.config, device, dtype), 0
    narrower = min(dtype, stored_dtype(config.model), key=lambda one: one.itemsize)  # files stay mapped until packed
    model = new_model(processor.config, device, narrower)
    chosen = choose_products(model, config.weights, dtype)
    about = _about(config, model, chosen)
    kept = find(cache_folder(), about) if about else None
    embeddings = model.text.embed_tokens.weight
    fill(model, config.model, mapped=True, known=kept.parameters if kept else ())
    pack(model, dtype, chosen, release, kept.blocks if kept else None)
    if kept:
        embeddings.data = kept.plain[EMBEDDINGS]
    for parameter in model.parameters():
        if parameter is not embeddings:
            parameter.data = parameter.data.to(dtype)
        if not parameter.is_mkldnn and not (kept and parameter is embeddings):
            parameter.data = parameter.data.clone()  # the last views of the file, which would keep all of it mapped
    if about and not kept:
        Thread(target=_keep, args=(about, model), name=KEEPING).start()
    return model, kept.bytes if kept else 0


def _about(config: EngineConfig, model: PaddleOCRVL, chosen: Mapping[str, Product]) -> About | None:
    """What weights of a model are made from that are worth keeping."""
    layers = layers_in_blocks(model, chosen)
    if not config.keep_weights or not layers or sum(layer.weight.numel() for layer in layers.values()) < KEPT_WEIGHTS:
        return None
    files = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in weight_files(config.model)]
    ways = {name: chosen[kind_of(name)].name for name in layers}
    return {"checkpoint": str(config.model.resolve()), "files": files, "ways": ways}


def _keep(about: About, model: PaddleOCRVL) -> None:
    """Keep the weights of a model for the next start, while this one goes on."""
    lower_priority()
    layers = {name: layer.blocks for name, layer in model.named_modules() if isinstance(layer, BlockLinear)}
    embeddings = model.text.embed_tokens.weight

    def write(keeper: Keeper) -> None:
        keeper.add_plain(EMBEDDINGS, embeddings)
        for name, blocks in layers.items():
            if not main_thread().is_alive():
                raise OSError("the process ends")
            keeper.add(name, blocks)

    size = embeddings.nbytes + sum(blocks.weight.nbytes + blocks.scale.nbytes for blocks in layers.values())
    keep(cache_folder(), about, size, write)


def _plan_memory(
    config: EngineConfig,
    processor: Processor,
    device: torch.device,
    dtype: torch.dtype,
    weights: int,
    free: int,
    networks: PageNetworks,
) -> MemoryPlan:
    """The plan beside `weights` bytes of weights, in `free` bytes. Raises DeviceError."""
    return plan(
        config,
        processor.config,
        device,
        dtype,
        stored=cache_dtype(device, dtype, processor.config.text_config, config.weights),
        image_tokens=-(-processor.bounds.max_pixels // pixels_per_token(processor)),
        weights=weights,
        workspaces=workspace_bytes(device, pages=networks.page_bytes > 0),
        free=free,
        page_bytes=networks.page_bytes,
    )


def _slots_in(
    dtype: torch.dtype, config: EngineConfig, processor: Processor, device: torch.device, networks: PageNetworks
) -> int:
    """Slots beside weights of this dtype, which are not loaded yet; 0 where the model does not fit."""
    try:
        return _plan_unloaded(dtype, replace(config, slots=None), processor, device, networks).slots
    except DeviceError:
        return 0


def _plan_unloaded(
    dtype: torch.dtype, config: EngineConfig, processor: Processor, device: torch.device, networks: PageNetworks
) -> MemoryPlan:
    """The plan beside weights of this dtype, which are not loaded yet. Raises DeviceError."""
    with torch.device("meta"):
        model = PaddleOCRVL(processor.config)
    chosen = choose_products(model, config.weights, dtype) if device.type == "cpu" else {}
    weights = stored_bytes(model, chosen, dtype)
    free = free_bytes(device) - weights
    return _plan_memory(config, processor, device, dtype, weights + networks.weights, free, networks)


def planned(config: EngineConfig) -> tuple[torch.device, torch.dtype, MemoryPlan]:
    """What `build` decides before the weights are loaded. Raises as it does."""
    processor = Processor(config.model)
    device = choose_device(config.device, config.worker)
    _use_threads(config)
    networks = load_networks(config.layout, config.orientation, config.unwarping, device)
    text = processor.config.text_config
    dtype = choose_dtype(
        config.dtype, device, text, lambda dtype: _slots_in(dtype, config, processor, device, networks)
    )
    return device, dtype, _plan_unloaded(dtype, config, processor, device, networks)


def pixels_per_token(processor: Processor) -> int:
    return (processor.image_settings.patch * processor.merge) ** 2
