"""Steps and messages that wait for a database: one that is gone, or whose connections are all in use."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from jobs.job import Job
from jobs.queue import JobQueue
from jobs.settings import load_job_settings
from jobs.simple_ocr.message import Message, Side
from jobs.steps import recorded
from tests.broken_database import Break, break_off_once, idle, queue_on, terminate
from tests.jobs import job
from tests.postgres import Postgres

Wait = Callable[[JobQueue, Callable[[], Any]], Coroutine[Any, Any, Any]]


async def step(_: JobQueue, ask: Callable[[], Any]) -> Any:
    return await recorded(ask)


async def message(queue: JobQueue, ask: Callable[[], Any]) -> Any:
    held: Any = SimpleNamespace(metadata=SimpleNamespace(num_delivered=1))
    broker: Any = None
    side = Side(settings=load_job_settings({}), queue=queue, worker="one")
    return await Message(side, broker, held, "normal")._asked(ask)


@pytest.fixture(params=[step, message])
def wait(request: pytest.FixtureRequest) -> Wait:
    asking: Wait = request.param
    return asking


@pytest.fixture
def queue(database: Postgres, tmp_path: Path) -> Iterator[JobQueue]:
    with queue_on(database, tmp_path) as made:
        yield made


@pytest.fixture
def waiting(queue: JobQueue) -> Job:
    return queue.submit(job())[0]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.steps.PAUSE", 0.01)
    monkeypatch.setattr("jobs.simple_ocr.message.PAUSE_SECONDS", 0.01)


@pytest.mark.parametrize("how", [terminate, idle])
def test_a_database_that_breaks_off_is_asked_again(queue: JobQueue, waiting: Job, wait: Wait, how: Break) -> None:
    broken = break_off_once(queue.records.engine, "SELECT ocr_jobs.id", how)
    found = asyncio.run(wait(queue, lambda: queue.records.get(waiting.id)))
    assert len(broken) == 1
    assert found.id == waiting.id


def test_a_pool_whose_connections_are_all_in_use_is_asked_again(
    queue: JobQueue, wait: Wait, caplog: pytest.LogCaptureFixture
) -> None:
    narrow = sa.create_engine(queue.records.engine.url, pool_size=1, max_overflow=0, pool_timeout=0.01)

    def ask() -> int:
        if "limit of size 1" in caplog.text:
            holder.close()
        with narrow.connect() as connection:
            return connection.execute(sa.text("SELECT 7")).scalar_one()

    with narrow.connect() as holder:
        assert asyncio.run(wait(queue, ask)) == 7
        assert holder.closed
    narrow.dispose()


def test_a_row_that_the_database_refuses_is_not_waited_for(queue: JobQueue, waiting: Job, wait: Wait) -> None:
    with pytest.raises(IntegrityError):
        asyncio.run(wait(queue, lambda: queue.submit_all([waiting])))
