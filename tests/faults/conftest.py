"""Fixtures: a real server with faults that tests switch on; workers of the OCR API on a real PostgreSQL."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.servers import running
from tests.farm import Farm
from tests.faults.faulty import HOURS_AHEAD, INJECT, Faulty
from tests.page_server import PageServer, page_server
from tests.postgres import Postgres

READING = 0.15  # seconds for a page
AT_ONCE = 4  # pages that a worker asks for
LEASE = 2  # seconds


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    """A server whose clock was ahead at its start and has been set back since."""
    folder = tmp_path_factory.mktemp("faulty")
    faults = folder / "faults"
    faults.mkdir()
    settings = {"SLOTS": "4", "DTYPE": "float32", "PYTHONPATH": str(INJECT), "FAULTS": str(faults)}
    clock = faults / "clock"
    clock.write_text(str(HOURS_AHEAD * 3600))
    with running(folder, **settings) as server:
        clock.unlink()  # unpatched, BentoML looks for dead workers only when that time comes again
        yield Faulty(server, faults)


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[PageServer]:
    with page_server(tmp_path / "pages", READING) as server:
        yield server


@pytest.fixture
def farm(tmp_path: Path, pages: PageServer, database: Postgres) -> Iterator[Farm]:
    environment = {
        "JOBS_DATABASE_URL": database.database(),
        "VLLM_URL": pages.url,
        "JOBS_PAGES": str(AT_ONCE),
        "JOBS_LEASE_SECONDS": str(LEASE),
    }
    with ExitStack() as stack:
        farm = Farm(tmp_path / "ocr", stack, environment)
        yield farm
        farm.tell_to_end()
