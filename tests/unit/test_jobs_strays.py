"""Jobs that a worker has in the database and does not know: they are handed back, and those that it knows are not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobs.job import Job
from jobs.leases import BEATS
from jobs.queue import JobQueue
from jobs.strays import Strays
from tests.jobs import job, queue_in


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    made = queue_in(tmp_path)
    yield made
    made.close()


def claimed(queue: JobQueue, worker: str = "one", **more: str) -> Job:
    """A job that the database says is a worker's."""
    made, _ = queue.submit(job(**more))
    claim(queue, made, worker)
    return made


def claim(queue: JobQueue, made: Job, worker: str = "one", status: str = "PENDING") -> None:
    said = "UPDATE workflow_status SET status = :status, executor_id = :worker WHERE workflow_uuid = :id"
    with queue.records.engine.begin() as connection:
        connection.execute(sa.text(said), {"status": status, "worker": worker, "id": made.workflow})


def state(queue: JobQueue, made: Job) -> tuple[str, str]:
    """How DBOS has it, and in which queue."""
    (found,) = queue._client.list_workflows(workflow_ids=[made.workflow])
    return str(found.status), str(found.queue_name)


def look(strays: Strays, times: int) -> None:
    for _ in range(times):
        strays.hand_back()


def test_a_job_that_is_missing_for_a_whole_lease_waits_again_in_its_queue(
    queue: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    lost = [claimed(queue), claimed(queue, priority="high")]
    strays = Strays(queue, "one", list)
    look(strays, BEATS)
    assert {state(queue, made)[0] for made in lost} == {"PENDING"}
    look(strays, 1)
    assert [state(queue, made) for made in lost] == [("ENQUEUED", "documents-normal"), ("ENQUEUED", "documents-high")]
    assert all(made.workflow in caplog.text for made in lost)


def test_a_job_that_runs_is_not_handed_back(queue: JobQueue) -> None:
    running = claimed(queue)
    look(Strays(queue, "one", lambda: [running.workflow]), 3 * BEATS)
    assert state(queue, running)[0] == "PENDING"


def test_a_job_of_another_worker_is_not_handed_back(queue: JobQueue) -> None:
    other = claimed(queue, "other")
    look(Strays(queue, "one", list), 3 * BEATS)
    assert state(queue, other)[0] == "PENDING"


def test_a_job_that_begins_late_is_not_handed_back(queue: JobQueue) -> None:
    made = claimed(queue)
    running: list[str] = []
    strays = Strays(queue, "one", lambda: running)
    look(strays, BEATS)
    running.append(made.workflow)
    look(strays, 1)
    running.clear()  # its end is about to be noted
    look(strays, BEATS)
    assert state(queue, made)[0] == "PENDING"


@pytest.mark.parametrize("status", ["SUCCESS", "CANCELLED", "ENQUEUED"])
def test_a_job_that_ended_or_waits_in_between_begins_with_its_next_claim(queue: JobQueue, status: str) -> None:
    made = claimed(queue)
    strays = Strays(queue, "one", list)
    look(strays, BEATS)
    claim(queue, made, status=status)
    look(strays, 1)
    assert state(queue, made)[0] == status
    claim(queue, made)
    look(strays, BEATS)
    assert state(queue, made)[0] == "PENDING"


def test_a_job_that_was_handed_back_and_is_claimed_at_once_has_a_whole_lease_again(queue: JobQueue) -> None:
    made = claimed(queue)
    strays = Strays(queue, "one", list)
    look(strays, BEATS + 1)
    assert state(queue, made)[0] == "ENQUEUED"
    claim(queue, made)
    look(strays, BEATS)
    assert state(queue, made)[0] == "PENDING"
    look(strays, 1)
    assert state(queue, made)[0] == "ENQUEUED"


def test_a_job_that_could_not_be_handed_back_has_a_whole_lease_again(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = claimed(queue)
    strays = Strays(queue, "one", list)
    with monkeypatch.context() as patch:
        patch.setattr(queue, "hand_back", refuse)
        with pytest.raises(ConnectionError):
            look(strays, BEATS + 1)
    look(strays, BEATS)
    assert state(queue, made)[0] == "PENDING"
    look(strays, 1)
    assert state(queue, made)[0] == "ENQUEUED"


def refuse(*_: object) -> None:
    raise ConnectionError
