"""Fixtures: engines that read documents, in earnest or by a script."""

from collections.abc import Iterator

import pytest

from engine.engine import Engine
from tests.checkpoints import TINY, write_script
from tests.engines import running_engine


@pytest.fixture(scope="module")
def reader() -> Iterator[Engine]:
    """An engine that reads what is on a page."""
    with running_engine(TINY, max_model_len=4096, slots=3) as engine:
        yield engine


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine whose model answers every prompt alike; it has two slots."""
    folder = write_script(tmp_path_factory.mktemp("scripted") / "model", "one", " two", " three")
    with running_engine(folder, slots=2) as engine:
        yield engine
