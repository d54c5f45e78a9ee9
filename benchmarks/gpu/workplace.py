"""What all sections of the GPU check share: the device, the checkpoints, and how runners and requests are made."""

import gc
import json
import shutil
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.clock import Clock
from benchmarks.gpu.requests import Size, image_request
from benchmarks.random_checkpoint import TINY, random_checkpoint
from engine.build import build_runner
from engine.config import EngineConfig
from engine.model_runner import ModelRunner
from engine.request import Sequence as Request
from models.paddleocr_vl.processor import Processor

MIB = 2**20


@dataclass
class Workplace:
    """`small`: the embedded checkpoint and small images in place of the real size, as a CPU needs."""

    folder: Path  # for checkpoints
    small: bool
    device: torch.device = field(default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    times: dict[str, float] = field(default_factory=dict)  # ms that later sections compare with, by name

    def __post_init__(self) -> None:
        if self.device.type == "cuda":
            self.device = torch.device("cuda", torch.cuda.current_device())
        self.clock = Clock(self.device)
        self._seeds = count()
        self._big: Path | None = None

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def full(self) -> bool:
        """Times and memory are those that the bars mean."""
        return self.on_gpu and not self.small

    @property
    def dtype(self) -> str:
        return "bfloat16" if self.on_gpu else "float32"

    @property
    def sizes(self) -> dict[str, Size]:
        """Image sizes that are timed, by name."""
        return {"small": (112, 112), "large": (224, 224)} if self.small else {"448": (448, 448), "1mp": (1008, 1008)}

    @property
    def rows(self) -> tuple[int, ...]:
        """Requests that are decoded together."""
        return (1, 2) if self.small else (1, 8, 32)

    @property
    def length(self) -> int:
        """Tokens in each slot before the steps whose times count; all of them end before 1024."""
        return 200 if self.small else 975

    # --- checkpoints --------------------------------------------------------------------------------------------------

    @property
    def tiny(self) -> Path:
        """The embedded checkpoint, which may see images of a few patches."""
        folder = self.folder / "tiny"
        if not folder.exists():
            folder.mkdir()
            for file in TINY.iterdir():
                if file.is_file():
                    shutil.copy(file, folder)
            settings = json.loads((folder / "preprocessor_config.json").read_text())
            (folder / "preprocessor_config.json").write_text(json.dumps(settings | {"min_pixels": 784}))
        return folder

    @property
    def big(self) -> Path:
        """Random weights of the real size, made once."""
        return self.tiny if self.small else random_checkpoint(self.folder / "big", "0.9b")

    # --- runners and requests -----------------------------------------------------------------------------------------

    def config(self, folder: Path, **more: Any) -> EngineConfig:
        small = {"max_model_len": 512, "slots": 4, "image_cache_bytes": MIB}
        limits: dict[str, Any] = small if self.small else {"max_model_len": 4160}
        return EngineConfig(model=folder, **({"device": str(self.device), "dtype": self.dtype} | limits | more))

    def runner(self, folder: Path, **more: Any) -> ModelRunner:
        """A runner of the checkpoint, with 32 slots of a bit more than 4096 tokens unless `more` differs."""
        slots = {} if self.small else {"slots": 32}
        runner = build_runner(self.config(folder, **(slots | more)), Processor(folder))
        runner.prepare()
        return runner

    def free(self) -> None:
        """Forget what earlier sections held, and measure the peak of memory anew."""
        gc.collect()
        if self.on_gpu:
            torch._C._cuda_clearCublasWorkspaces()  # earlier runners' streams have some, which a server has not
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def request(self, processor: Processor, size: Size, slot: int = 0, **params: Any) -> Request:
        """An image that no cache has."""
        return image_request(processor, size, self.seed(), slot, **params)

    def seed(self) -> int:
        """Another one each time."""
        return next(self._seeds)
