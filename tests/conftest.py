"""Fixtures: a small random checkpoint and engines that run it; a PostgreSQL."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from transformers import PaddleOCRVLConfig

from engine.engine import Engine
from engine.launches import Stopwatch
from engine.pace import LaunchedSlices
from models.paddleocr_vl.kernels import SOURCE, defines
from tests.checkpoints import write_checkpoint
from tests.emulator import EmulatedModule
from tests.engines import running_engine
from tests.postgres import Postgres, postgres
from tests.recording import Recordings

settings.register_profile("same examples", derandomize=True)  # new ones: pytest --hypothesis-profile=default
settings.load_profile("same examples")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), min_pixels=784)


@pytest.fixture(scope="session")
def small_module(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> EmulatedModule:
    """The CUDA kernels for the decoder of `checkpoint`, in fp32."""
    config = PaddleOCRVLConfig.from_pretrained(checkpoint)
    return EmulatedModule(SOURCE, defines(config, torch.float32, torch.float32), tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="session")
def engine(checkpoint: Path) -> Iterator[Engine]:
    with running_engine(checkpoint) as engine:
        yield engine


@pytest.fixture(scope="session")
def database() -> Iterator[Postgres]:
    with postgres() as database:
        yield database


@pytest.fixture(params=["in step", "overlapped"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that start in the test decode in step with the device, as on a CPU, or overlapped, as on a GPU."""
    if request.param == "overlapped":
        overlap(monkeypatch, Recordings())


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> Recordings:
    """Engines that start in the test overlap launches and reads, by recorded graphs."""
    made = Recordings()
    overlap(monkeypatch, made)
    return made


def overlap(monkeypatch: pytest.MonkeyPatch, graphs: Recordings) -> None:
    """Let engines decode and prefill as on a GPU, where the host does not wait for what it launches."""
    watch = partial(Stopwatch, torch.device("cpu"))
    monkeypatch.setattr("engine.build.graphs_for", lambda *_: graphs)
    monkeypatch.setattr("engine.pace.TimedSlices", lambda: LaunchedSlices(watch))
    for kernels in (
        "cpu_kernels.kernel",
        "cpu_attention.kernel",
        "cpu_image_attention.functions",
        "cpu_logits.function",
        "cpu_rope.kernel",
    ):
        monkeypatch.setattr(f"models.paddleocr_vl.{kernels}", no_kernels_for_cpus)


def no_kernels_for_cpus(*_: int) -> None:
    """A GPU has none, and a recording would not know what they do."""
    raise RuntimeError("this CPU plays a GPU")
