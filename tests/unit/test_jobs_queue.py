"""The queue of jobs: turns, bounds, the client's own ids, cancel and retry."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.failures import of_input
from jobs.queue import Bounds, JobQueue, OwnIdTakenError, QueueFullError
from jobs.records import Filter
from tests.jobs import job, queue_in


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    made = queue_in(tmp_path)
    yield made
    made.close()


def order(queue: JobQueue) -> list[str]:
    """Clients of waiting jobs, as workers take them."""
    waiting = queue.records.listed(Filter(statuses=("queued",), limit=100))
    return [one.client for one in sorted(waiting, key=lambda one: (one.rank, one.turn, one.id))]


def test_clients_take_turns_however_many_jobs_one_has_submitted(queue: JobQueue) -> None:
    queue.submit_all([job("ada") for _ in range(4)])
    queue.submit_all([job("bob") for _ in range(2)])
    assert order(queue) == ["ada", "bob", "ada", "bob", "ada", "ada"]


def test_a_client_that_comes_late_does_not_wait_for_turns_that_are_over(queue: JobQueue) -> None:
    first = [job("ada") for _ in range(5)]
    queue.submit_all(first)
    for one in first[:3]:
        queue.records.begin(one.id, 1)
    queue.submit(job("bob"))
    assert order(queue) == ["ada", "bob", "ada"]


def test_priorities_come_before_turns(queue: JobQueue) -> None:
    for priority in ("low", "normal", "high"):
        queue.submit(job(priority, priority=priority))
    assert order(queue) == ["high", "normal", "low"]


def test_only_so_many_jobs_may_wait(tmp_path: Path) -> None:
    queue = queue_in(tmp_path, Bounds(max_waiting=2, max_waiting_bytes=100))
    queue.submit_all([job(), job()])
    with pytest.raises(QueueFullError, match="2 jobs wait, and 2 may"):
        queue.submit(job())
    queue.close()


def test_only_so_many_bytes_may_wait(tmp_path: Path) -> None:
    queue = queue_in(tmp_path, Bounds(max_waiting=10, max_waiting_bytes=25))
    queue.submit_all([job(), job()])
    with pytest.raises(QueueFullError, match="20 bytes, and 25 may"):
        queue.submit(job())
    queue.close()


def test_of_several_jobs_that_do_not_all_fit_none_is_submitted(tmp_path: Path) -> None:
    queue = queue_in(tmp_path, Bounds(max_waiting=2, max_waiting_bytes=100))
    with pytest.raises(QueueFullError):
        queue.submit_all([job(), job(), job()])
    assert queue.records.counts()["queued"][0] == 0
    queue.close()


def test_the_same_document_under_the_same_id_is_one_job_and_another_is_refused(queue: JobQueue) -> None:
    first, is_new = queue.submit(job(own_id="order-7"))
    assert is_new
    again, is_new = queue.submit(job(own_id="order-7"))
    assert (again.id, is_new) == (first.id, False)
    with pytest.raises(OwnIdTakenError, match=first.id):
        queue.submit(job(own_id="order-7", digest="two"))
    other, is_new = queue.submit(job("bob", own_id="order-7"))  # ids are each client's own
    assert is_new
    assert other.id != first.id


def test_a_cancelled_job_stays_cancelled_whatever_its_worker_says(queue: JobQueue) -> None:
    waiting, _ = queue.submit(job())
    assert queue.cancel(waiting)
    assert queue.records.begin(waiting.id, 1) is None
    assert not queue.records.end(waiting.id, 1, "done")
    known = queue.records.get(waiting.id)
    assert known is not None
    assert known.status == "cancelled"


def test_only_what_failed_or_was_cancelled_can_be_retried(queue: JobQueue) -> None:
    failed, _ = queue.submit(job())
    assert not queue.retry(failed)
    queue.records.end(failed.id, 1, "failed", of_input("refused", "damaged", 3))
    known = queue.records.get(failed.id)
    assert known is not None
    assert known.failure is not None
    assert (known.failure.code, known.failure.page) == ("refused", 3)
    assert queue.retry(known)
    again = queue.records.get(failed.id)
    assert again is not None
    assert (again.status, again.run, again.failure) == ("queued", 2, None)
    assert not queue.retry(known)  # by a second click


def test_a_run_that_was_replaced_can_no_longer_end_the_job(queue: JobQueue) -> None:
    running, _ = queue.submit(job())
    queue.records.begin(running.id, 1)
    assert queue.run_again(running, ("running",)) is True
    assert not queue.records.end(running.id, 1, "done")
    assert queue.records.begin(running.id, 2) is not None


def test_progress_only_rises(queue: JobQueue) -> None:
    running, _ = queue.submit(job())
    queue.records.split(running.id, 1, 5, 10)
    for count in (3, 1):
        queue.records.progress(running.id, 1, count)
    known = queue.records.get(running.id)
    assert known is not None
    assert (known.pages_total, known.pages_done) == (5, 3)


def test_jobs_are_listed_newest_first_in_parts(queue: JobQueue) -> None:
    for number in range(5):
        queue.submit(job(created_at=1000.0 + number // 2))  # some at the same time
    everything = [one.id for one in queue.records.listed(Filter())]
    parts: list[str] = []
    while part := queue.records.listed(Filter(after=parts[-1] if parts else None, limit=2)):
        parts += [one.id for one in part]
    assert parts == everything
    assert len(set(parts)) == 5


def test_a_removed_job_leaves_nothing(queue: JobQueue) -> None:
    waiting, _ = queue.submit(job())
    queue.store.put(f"{waiting.id}/source", b"document")
    queue.remove(waiting)
    assert queue.records.get(waiting.id) is None
    assert queue.store.names() == []
