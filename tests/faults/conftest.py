"""Fixtures: a real server with faults that tests switch on."""

from collections.abc import Iterator

import pytest

from tests.e2e.servers import running
from tests.faults.faulty import HOURS_AHEAD, INJECT, Faulty


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
