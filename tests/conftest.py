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


@pytest.fixture(params=["in step", "overlapped"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that start in the test decode in step with the device, as on a CPU, or overlapped, as on a GPU."""
    if request.param == "overlapped":
        monkeypatch.setattr("engine.build.graphs_for", lambda _device, _bytes: Recordings())


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> Recordings:
    """Engines that start in the test overlap launches and reads, by recorded graphs."""
    made = Recordings()
    monkeypatch.setattr("engine.build.graphs_for", lambda _device, _bytes: made)
    return made
