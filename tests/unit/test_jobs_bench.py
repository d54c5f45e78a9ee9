"""The arithmetic of benchmarks/jobs.py, and the finished jobs that it makes."""

import time
from pathlib import Path

import pytest

from benchmarks.jobs import growth, missed, multiply
from jobs.job import Job, JobOptions, Source, new_id
from jobs.queue import Bounds, JobQueue
from jobs.records import Filter
from jobs.settings import JobSettings
from jobs.store import Store
from jobs.tables import connect, migrate


def test_growth_is_told_from_the_second_half() -> None:
    warming_up = [(jobs, 100.0 + jobs / 10) for jobs in range(0, 1000, 100)]
    steady = [(jobs, 200.0 + jobs / 1000) for jobs in range(1000, 2000, 100)]
    assert growth(warming_up + steady) == {"mib_at_end": 202, "mib_per_1000_jobs": pytest.approx(1.0, abs=0.01)}


def test_a_missed_bar_is_named_with_its_value() -> None:
    found = {"overhead": {"sqlite": {"page_ms": 60.0}}, "two_servers": {"times": 1.95}, "four_workers": {"share": 0.9}}
    assert list(missed(found)) == [
        "overhead sqlite page_ms: 60.0, and the bar is 50.0",
        "four_workers share: 0.9, and the bar is 0.95",
    ]


def test_finished_jobs_are_copies_that_are_kept(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/jobs.sqlite"
    engine = connect(database)
    migrate(engine)
    queue = JobQueue(engine, Store(str(tmp_path)), Bounds(10, 10**9))
    options = JobOptions()
    new = Job(id=new_id(), owner="", client="", source=Source(), options=options, created_at=time.time())
    job, _ = queue.submit(new)
    queue.records.end(job.id, 1, "done")
    multiply(database, 500)
    assert len(queue.records.listed(Filter(statuses=["done"], limit=1000))) == 501
    kept = JobSettings().jobs_retention.total_seconds()
    assert queue.records.ended_before(time.time() - kept, 1000) == []
    queue.close()
    engine.dispose()
