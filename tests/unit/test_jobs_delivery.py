"""Ends of jobs that are told while a PostgreSQL breaks off: it is waited for, and no target is left out."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.context import Context
from jobs.delivery import deliver, outcomes_name
from jobs.job import Job
from jobs.queue import JobQueue
from jobs.readers import readers
from jobs.settings import load_job_settings
from jobs.splitters import Splitters
from jobs.tracing import Traces
from tests.broken_database import Break, break_off_once, idle, queue_on, terminate
from tests.jobs import job
from tests.postgres import Postgres
from tests.webhook_receiver import Receiver, receiving

TARGETS = 2
READING, COUNTING = "SELECT ocr_jobs.id", "INSERT INTO ocr_totals"


@pytest.fixture
def queue(database: Postgres, tmp_path: Path) -> Iterator[JobQueue]:
    with queue_on(database, tmp_path) as made:
        yield made


@pytest.fixture
def context(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setattr("jobs.steps.PAUSE", 0.01)
    settings = load_job_settings({"JOBS_WEBHOOK_SECRET": "0123456789abcdef", "ALLOWED_HOSTS": "127.0.0.1"})
    return Context(
        settings=settings,
        records=queue.records,
        store=queue.store,
        readers=readers("model"),
        traces=Traces(None),
        splitters=Splitters(1, 1000),
    )


def ended_job(queue: JobQueue, receiver: Receiver) -> Job:
    made = job(deliver=[{"kind": "webhook", "url": receiver.url}] * TARGETS)
    queue.submit(made)
    queue.records.end(made.id, 1, "done")
    return made


@pytest.mark.parametrize("how", [terminate, idle])
@pytest.mark.parametrize(
    ("statement", "status", "said"),
    [
        (READING, 200, "delivered_webhook"),
        (COUNTING, 200, "delivered_webhook"),
        (COUNTING, 410, "undelivered_webhook"),
    ],
)
def test_all_targets_are_told_although_the_database_breaks_off_in_the_middle(
    queue: JobQueue, context: Context, statement: str, status: int, said: str, how: Break
) -> None:
    with receiving(status) as receiver:
        made = ended_job(queue, receiver)
        broken = break_off_once(context.records.engine, statement, how)
        asyncio.run(deliver(context, made))
    assert len(broken) == 1
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [f"{made.id}.1.done"] * TARGETS
    assert len(json.loads(context.store.get(outcomes_name(made)))) == TARGETS
    assert context.records.totals()[said] == TARGETS


def test_of_a_job_that_was_retried_before_its_failure_was_told_only_the_next_end_is_told(
    queue: JobQueue, context: Context
) -> None:
    with receiving(200) as receiver:
        failed = job(deliver=[{"kind": "webhook", "url": receiver.url}])
        queue.submit(failed)
        queue.records.end(failed.id, 1, "failed")
        assert queue.retry(failed)
        asyncio.run(deliver(context, failed))
        assert receiver.got == []
        queue.records.end(failed.id, 2, "done")
        asyncio.run(deliver(context, failed.model_copy(update={"run": 2})))
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [f"{failed.id}.2.done"]
