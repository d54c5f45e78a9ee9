"""What an engine is told at start."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EngineConfig:
    model: Path  # checkpoint folder
    device: str = "auto"  # auto | cpu | cuda | cuda:N
    dtype: str = "auto"  # auto | float32 | bfloat16 | float16
    weights: str = "native"  # native | int8: the decoder's linear layers in 8 bits, on CPUs
    max_model_len: int = 8192  # tokens of prompt and answer together
    slots: int | None = None  # requests that run at once; None: as many as memory and device make sensible
    max_waiting: int = 256  # requests that wait for a slot before more are turned away
    max_waiting_bytes: int = 2**30  # of the images that they wait with
    image_cache_bytes: int = 256 * 2**20  # features of images kept for further questions; 0: none
    gpu_memory_limit: int | None = None  # bytes that this process may take of the GPU's memory; None: what is free
    worker: int = 0  # which of the processes that share this machine: it takes the GPU of this number
    workers: int = 1
