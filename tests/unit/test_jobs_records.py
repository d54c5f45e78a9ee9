"""Totals of jobs, counted by several workers at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from jobs.records import Records
from jobs.tables import connect, migrate
from tests.postgres import Postgres

WORKERS = 8
NAMES = [f"name{number}" for number in range(20)]


def counted_by_all(address: str) -> dict[str, float]:
    """The totals after each worker has counted one of each name at the same moment."""
    engine = connect(address)
    migrate(engine)
    records, together = Records(engine), Barrier(WORKERS)

    def count(name: str) -> None:
        together.wait()
        records.count({name: 1})

    with ThreadPoolExecutor(WORKERS) as threads:
        for name in NAMES:
            list(threads.map(count, [name] * WORKERS))
    totals = records.totals()
    engine.dispose()
    return totals


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_first_of_a_total_may_be_counted_by_several_workers_at_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        address = f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    else:
        database: Postgres = request.getfixturevalue("database")
        address = database.database().replace("postgresql://", "postgresql+psycopg://")
    assert counted_by_all(address) == dict.fromkeys(NAMES, WORKERS)
