"""Fixtures: a real server that breaks where a test says so, and clients that tell how an answer ended."""

from collections.abc import Iterator

import pytest

from tests.e2e.servers import running
from tests.faults.faulty import HOURS_AHEAD, INJECT, Faulty


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    """Its clock was ahead when it began, and is set back."""
    folder = tmp_path_factory.mktemp("faulty")
    faults = folder / "faults"
    faults.mkdir()
    settings = {"SLOTS": "4", "DTYPE": "float32", "PYTHONPATH": str(INJECT), "FAULTS": str(faults)}
    clock = faults / "clock"
    clock.write_text(str(HOURS_AHEAD * 3600))
    with running(folder, **settings) as server:
        clock.unlink()  # BentoML would have looked for dead workers when that time comes again
        yield Faulty(server, faults)
