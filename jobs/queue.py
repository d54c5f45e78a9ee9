"""What clients do with jobs: submit, cancel, retry, remove. A job and its workflow are one transaction."""

from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from dbos import DBOSClient
from sqlalchemy.exc import IntegrityError

from jobs.job import ENDED, PRIORITIES, Job, Priority, workflow_id
from jobs.records import Records, job_of, row_of
from jobs.serializer import JsonSerializer
from jobs.store import Store
from jobs.tables import jobs
from jobs.turns import next_turn

APPLICATION = "ocr"  # the owner of our workflows among others in one database
QUEUES: dict[Priority, str] = {priority: f"documents-{priority}" for priority in PRIORITIES}
"""A queue for each priority, so that a worker that is full of long documents begins others that are more urgent."""
WORKFLOW = "read_document"
BUSY_SECONDS = 30  # after which a client that was refused should ask again


class QueueFullError(Exception):
    """Too many jobs wait, or too many bytes of documents."""

    retry_after = BUSY_SECONDS


class OwnIdTakenError(Exception):
    """The client's own id stands for another job of theirs."""


@dataclass(frozen=True)
class Bounds:
    max_waiting: int
    max_waiting_bytes: int


class JobQueue:
    """The queue of jobs, from the side of those who submit them. Thread-safe."""

    def __init__(self, engine: sa.Engine, store: Store, bounds: Bounds) -> None:
        self.records = Records(engine)
        self.store = store
        self._engine, self._bounds = engine, bounds
        self._client = DBOSClient(
            system_database_engine=engine,
            serializer=JsonSerializer(),
            application_name=APPLICATION,
            lazy=True,
            retry_connection_errors=False,  # a client that waits is told instead
        )

    def close(self) -> None:
        self._client.destroy()

    def check_room(self, size: int = 0) -> None:
        """Raises QueueFullError if a document of so many bytes would be refused now."""
        with self._engine.connect() as connection:
            self._check_room(connection, size)

    def submit(self, job: Job) -> tuple[Job, bool]:
        """The job as it waits, and whether it is new: one that the client submitted under the same id is given back.

        A document that was uploaded is in the store by now. Raises QueueFullError, OwnIdTakenError, SQLAlchemyError.
        """
        if job.own_id is not None and (known := self.by_own_id(job)) is not None:
            return known, False
        try:
            self.submit_all([job])
        except IntegrityError:
            known = self.by_own_id(job)  # submitted twice at once
            if known is None:
                raise
            return known, False
        return job, True

    def submit_all(self, new: Sequence[Job]) -> None:
        """Submit several jobs, all or none. Raises QueueFullError, SQLAlchemyError."""
        with self._writing() as connection:
            self._check_room(connection, sum(job.source.bytes for job in new), len(new))
            for job in new:
                job.turn = next_turn(connection, job.priority, job.client)
                connection.execute(sa.insert(jobs).values(**row_of(job)))
                self._enqueue(connection, job)

    def by_own_id(self, job: Job) -> Job | None:
        """The job with the same id of the client's. Raises OwnIdTakenError if it stands for another document."""
        query = sa.select(jobs).where(jobs.c.owner == job.owner, jobs.c.own_id == job.own_id)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        known = job_of(row)
        if known.digest != job.digest:
            raise OwnIdTakenError(f"the id {job.own_id!r} stands for another document or other options: {known.id}")
        return known

    def cancel(self, job: Job) -> bool:
        """Cancel a job that waits or runs, within a page; whether it had not ended."""
        changed = self.records.end(job.id, job.run, "cancelled")
        self._client.cancel_workflow(job.workflow)
        return changed

    def retry(self, job: Job) -> bool:
        """Let a job that failed or was cancelled wait again; pages that were read stay. False if it is neither."""
        return self.run_again(job, ("failed", "cancelled"))

    def run_again(self, job: Job, statuses: tuple[str, ...]) -> bool:
        """Give a job with one of these statuses another run; False if it has none of them or another run by now."""
        with self._writing() as connection:
            again = job.model_copy(update={"run": job.run + 1})
            again.turn = next_turn(connection, job.priority, job.client)
            query = sa.update(jobs).where(jobs.c.id == job.id, jobs.c.run == job.run, jobs.c.status.in_(statuses))
            values = {"run": again.run, "turn": again.turn, "status": "queued", "failure": None, "finished_at": None}
            changed = connection.execute(query.values(values)).rowcount > 0
            if changed:
                self._enqueue(connection, again)
        return changed

    def claimed(self, worker: str) -> set[str]:
        """The workflows that a worker has begun and not ended. Raises SQLAlchemyError."""
        return {workflow for queue in QUEUES.values() for workflow in self._claimed(worker, queue)}

    def hand_back(self, worker: str, workflows: Set[str]) -> None:
        """Let any worker go on at once with some that this one has begun and not ended. Raises SQLAlchemyError."""
        for queue in QUEUES.values():
            if unfinished := self._claimed(worker, queue) & workflows:
                self._client.resume_workflows(sorted(unfinished), queue_name=queue)

    def remove(self, job: Job) -> None:
        """Remove a job with its documents, whatever it is doing. Raises StoreError."""
        if job.status not in ENDED:
            self.cancel(job)
        self.store.remove(job.id)
        self._client.delete_workflows([workflow_id(job.id, run) for run in range(1, job.run + 1)])
        self.records.remove(job.id)

    def _claimed(self, worker: str, queue: str) -> set[str]:
        found = self._client.list_workflows(
            status="PENDING", queue_name=queue, executor_id=worker, load_input=False, load_output=False
        )
        return {workflow.workflow_id for workflow in found}

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """A transaction that writes what it has read."""
        with self._engine.begin() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.execute(sa.text("BEGIN IMMEDIATE"))  # reading would not begin one
            yield connection

    def _check_room(self, connection: sa.Connection, size: int, new: int = 1) -> None:
        waiting = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(jobs.c.bytes), 0))
        count, total = connection.execute(waiting.where(jobs.c.status == "queued")).one()
        if count + new > self._bounds.max_waiting:
            raise QueueFullError(
                f"{count} jobs wait, and {self._bounds.max_waiting} may; ask again in {BUSY_SECONDS} s"
            )
        if total + size > self._bounds.max_waiting_bytes:
            message = f"the documents of waiting jobs have {total} bytes, and {self._bounds.max_waiting_bytes} may wait"
            raise QueueFullError(f"{message}; ask again in {BUSY_SECONDS} s")

    def _enqueue(self, connection: sa.Connection, job: Job) -> None:
        self._client.enqueue_in_transaction(
            connection,
            {
                "workflow_name": WORKFLOW,
                "queue_name": QUEUES[job.priority],
                "workflow_id": job.workflow,
                "priority": job.turn,
            },
            job.id,
            job.run,
        )
