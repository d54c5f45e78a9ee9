"""Ends of jobs that are told while a PostgreSQL breaks off: it is waited for, and no target is left out."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from jobs.context import Context
from jobs.delivery import deliver, outcomes_name
from jobs.job import Job
from jobs.queue import JobQueue
from jobs.readers import readers
from jobs.settings import load_job_settings
from jobs.splitters import Splitters
from jobs.store import Store
from jobs.tables import connect, migrate
from jobs.tracing import Traces
from tests.jobs import ROOMY, job
from tests.postgres import Postgres
from tests.webhook_receiver import Receiver, receiving

TARGETS = 2
READING, COUNTING = "SELECT ocr_jobs.id", "INSERT INTO ocr_totals"
Break = Callable[[sa.Connection, Any], None]


def terminate(connection: sa.Connection, cursor: Any) -> None:
    """End the session, as a server that is restarted does."""
    cursor.execute("SELECT pg_backend_pid()")
    (session,) = cursor.fetchone()
    with connection.engine.connect() as other:
        other.execute(sa.text("SELECT pg_terminate_backend(:session)"), {"session": session})


def idle(_: sa.Connection, cursor: Any) -> None:
    """Be idle in a transaction for longer than the server allows, as a process that is stopped."""
    cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 50")
    time.sleep(0.5)


@pytest.fixture
def queue(database: Postgres, tmp_path: Path) -> Iterator[JobQueue]:
    engine = connect(database.database().replace("postgresql://", "postgresql+psycopg://"))
    migrate(engine)
    made = JobQueue(engine, Store(str(tmp_path / "documents")), ROOMY)
    yield made
    made.close()
    engine.dispose()


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


def break_off_once(engine: sa.Engine, statement: str, how: Break) -> list[str]:
    """Let a session end right before its first statement of this kind; the list names what was broken off."""
    broken: list[str] = []

    def before(connection: sa.Connection, cursor: Any, said: str, *_: object) -> None:
        if not broken and said.startswith(statement):
            broken.append(said)
            how(connection, cursor)

    event.listen(engine, "before_cursor_execute", before)
    return broken


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
