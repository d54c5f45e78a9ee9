"""The configuration of an engine."""

from dataclasses import dataclass
from pathlib import Path

DEFAULT_LENGTH = 8192  # tokens of a slot, where memory is enough


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Configuration of an engine: its checkpoint, its device, and its limits."""

    model: Path  # checkpoint folder
    device: str = "auto"  # auto | cpu | cuda | cuda:N
    dtype: str = "auto"  # auto | float32 | bfloat16 | float16
    weights: str = "auto"  # auto | native | fp16 | int8 | int4: how a CPU stores the weights of linear layers
    keep_weights: bool = True  # as a CPU multiplies by them, for later starts
    max_model_len: int | None = None  # tokens of prompt and answer together; None: 8192, or fewer by the memory plan
    slots: int | None = None  # requests that run at once; None: as many as memory and device make sensible
    max_waiting: int = 256  # requests that wait for a slot before further ones are rejected
    max_waiting_bytes: int = 2**30  # memory for the images of waiting requests
    image_cache_bytes: int | None = None  # features of images for further requests; 0: none; None: by memory
    cuda_graphs: bool = True  # on a GPU, decode by captured graphs where they work
    gpu_memory_limit: int | None = None  # bytes of GPU memory that this process may use; None: all that is free
    layout: Path | None = None  # checkpoint folder of the network that finds a page's blocks; None: no pages are served
    segments: bool = False  # without a layout network, pages are served all the same: their ink tells blocks apart
    orientation: Path | None = None  # folder of the network that tells which side is up
    unwarping: Path | None = None  # folder of the network that flattens photographed pages
    worker: int = 0  # index of this process among those that share the machine, and of its GPU
    workers: int = 1
