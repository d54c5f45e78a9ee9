"""Fixtures: real `bentoml serve` processes on free ports, each with its own model store."""

from collections.abc import Iterator

import pytest

from tests.e2e.collector import Collector
from tests.e2e.servers import Server, running
from tests.keys import ALICE, BOB
from tests.ocr_service import Service
from tests.ocr_service import running as service


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with no model chosen and an empty model store."""
    options = {"SLOTS": "4", "SERVED_MODEL_NAMES": "our-ocr", "ALLOWED_HOSTS": "localhost"}
    with running(tmp_path_factory.mktemp("server"), **options) as server:
        yield server


@pytest.fixture(scope="session")
def api(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The OCR API with a worker that asks this server."""
    with service(tmp_path_factory.mktemp("ocr"), VLLM_URL=f"{server.url}/v1") as api:
        yield api


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    with Collector().running() as collector:
        yield collector


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Server]:
    """A server with few slots, keys for two clients and a collector of traces."""
    settings = {
        "SLOTS": "2",
        "API_KEYS": f"alice:{ALICE},bob:{BOB}",
        "ALLOWED_HOSTS": "127.0.0.1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
        "OTEL_BSP_SCHEDULE_DELAY": "100",  # milliseconds
    }
    with running(tmp_path_factory.mktemp("keyed"), **settings) as server:
        yield server
