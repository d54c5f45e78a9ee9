"""Fixtures: a small random checkpoint and engines that run it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.engine import Engine
from tests.checkpoints import write_checkpoint
from tests.engines import running_engine
from tests.recording import Recordings


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), min_pixels=784)


@pytest.fixture(scope="session")
def engine(checkpoint: Path) -> Iterator[Engine]:
    with running_engine(checkpoint) as engine:
        yield engine


@pytest.fixture(params=["in step", "behind launches"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that are made in the test work in step with their device, as on a CPU, or with graphs, as on a GPU."""
    if request.param == "behind launches":
        monkeypatch.setattr("engine.build.graphs_for", lambda _device: Recordings())
