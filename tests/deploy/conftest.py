"""Fixtures: three servers, and a real nginx in front of them."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.deploy.site import Site, nginx, write_site
from tests.e2e.servers import Server, started


@pytest.fixture(scope="package")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Three servers, as three machines would run them. Each has its own store, since metrics files are next to it.

    Each computes on one thread: if threads of several servers share two cores, each step waits for a descheduled one.
    """
    environment = {"SLOTS": "4", "OMP_NUM_THREADS": "1"}
    with ExitStack() as stack:
        folders = [tmp_path_factory.mktemp("replica") for _ in range(3)]
        servers = [stack.enter_context(started(folder, **environment)) for folder in folders]
        for server in servers:
            server.wait_until_ready()
        yield servers


@pytest.fixture(scope="package")
def site(replicas: list[Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = write_site(tmp_path_factory.mktemp("nginx"), [server.url.removeprefix("http://") for server in replicas])
    with nginx(site):
        yield site
