"""Fixtures: the API over a real engine, in this process."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from engine.engine import Engine
from tests.http.served import client_of


@pytest.fixture(scope="session")
def client(engine: Engine) -> Iterator[TestClient]:
    with client_of(engine) as client:
        yield client
