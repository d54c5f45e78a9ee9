"""A small random checkpoint and engines that run it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.config import EngineConfig
from engine.engine import Engine
from tests.checkpoints import write_checkpoint
from tests.recording import Recordings


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), min_pixels=784)


@contextmanager
def running_engine(checkpoint: Path, **config: Any) -> Iterator[Engine]:
    """A real engine on the CPU in fp32, ready; shut down at the end."""
    settings: dict[str, Any] = {"device": "cpu", "dtype": "float32", "max_model_len": 512, "slots": 4} | config
    engine = Engine(EngineConfig(checkpoint, **settings))
    engine.start()
    assert engine.wait_until_settled(60) == "ready", engine.error
    try:
        yield engine
    finally:
        engine.shutdown(grace=5)


@pytest.fixture(scope="session")
def engine(checkpoint: Path) -> Iterator[Engine]:
    with running_engine(checkpoint) as engine:
        yield engine


@pytest.fixture(params=["in step", "behind launches"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that are made in the test work in step with their device, as on a CPU, or with graphs, as on a GPU."""
    if request.param == "behind launches":
        monkeypatch.setattr("engine.model_runner.graphs_for", lambda _device: Recordings())
