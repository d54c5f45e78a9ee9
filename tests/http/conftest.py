"""Fixtures: the API over a real engine, in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from engine.engine import Engine
from tests.engines import running_engine
from tests.http.pressure import nothing_is_left, wait_until
from tests.http.served import client_of
from tests.http.sockets import endless_engine


@pytest.fixture(scope="session")
def client(engine: Engine) -> Iterator[TestClient]:
    with client_of(engine) as client:
        yield client


@pytest.fixture(scope="module")
def one_slot_engine(checkpoint: Path) -> Iterator[Engine]:
    with running_engine(checkpoint, slots=1) as engine:
        yield engine


@pytest.fixture
def one_slot(one_slot_engine: Engine) -> Iterator[Engine]:
    """An engine with one slot. Whatever a test did to it, everything is free afterwards."""
    yield one_slot_engine
    wait_until(lambda: nothing_is_left(one_slot_engine), one_slot_engine)


@pytest.fixture(scope="module")
def endless(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Its answers never end by themselves; it has two slots."""
    with endless_engine(checkpoint, tmp_path_factory.mktemp("endless") / "checkpoint", slots=2) as engine:
        yield engine
