"""Jobs as rows: read, listed, counted, and moved from state to state. Every change is one transaction."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from jobs.failures import Failure
from jobs.job import ENDED, PRIORITIES, Job, JobFailure, Source, Status
from jobs.tables import jobs, totals, workers

ACTIVE: tuple[Status, ...] = ("queued", "running")
INSERT: dict[str, Callable[[sa.Table], postgresql.Insert | sqlite.Insert]] = {
    "postgresql": postgresql.insert,
    "sqlite": sqlite.insert,
}
"""The insertions of each database that can update a row that is there."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """The jobs that are listed, newest first."""

    owner: str | None = None  # None: everyone's
    statuses: Sequence[Status] = ()
    batch: str | None = None
    own_id: str | None = None
    created_after: float | None = None
    created_before: float | None = None
    after: str | None = None  # the id of the last job of the page before
    limit: int = 50


class Records:
    """The jobs of a database. Thread-safe. Methods raise sqlalchemy.exc.SQLAlchemyError."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def get(self, job: str, owner: str | None = None) -> Job | None:
        """`owner`: whose job it must be; None: anyone's."""
        query = sa.select(jobs).where(jobs.c.id == job)
        if owner is not None:
            query = query.where(jobs.c.owner == owner)
        with self.engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else job_of(row)

    def listed(self, wanted: Filter) -> list[Job]:
        query = sa.select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(wanted.limit)
        exact = {jobs.c.owner: wanted.owner, jobs.c.batch: wanted.batch, jobs.c.own_id: wanted.own_id}
        for column, value in exact.items():
            if value is not None:
                query = query.where(column == value)
        if wanted.statuses:
            query = query.where(jobs.c.status.in_(wanted.statuses))
        if wanted.created_after is not None:
            query = query.where(jobs.c.created_at >= wanted.created_after)
        if wanted.created_before is not None:
            query = query.where(jobs.c.created_at < wanted.created_before)
        with self.engine.connect() as connection:
            if wanted.after is not None:
                last = sa.select(jobs.c.created_at).where(jobs.c.id == wanted.after).scalar_subquery()
                query = query.where(sa.tuple_(jobs.c.created_at, jobs.c.id) < sa.tuple_(last, wanted.after))
            return [job_of(row) for row in connection.execute(query)]

    def ahead(self, job: Job) -> int:
        """How many waiting jobs have their turn before this one."""
        higher = PRIORITIES[: PRIORITIES.index(job.priority)]
        before = sa.and_(jobs.c.priority == job.priority, jobs.c.turn < job.turn)
        query = sa.select(sa.func.count()).where(jobs.c.status == "queued", sa.or_(jobs.c.priority.in_(higher), before))
        with self.engine.connect() as connection:
            return connection.execute(query).scalar_one()

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Jobs, bytes and pages left, by status, of those that have not ended."""
        left = sa.func.sum(sa.func.coalesce(jobs.c.pages_total, 1) - jobs.c.pages_done)
        query = (
            sa.select(jobs.c.status, sa.func.count(), sa.func.sum(jobs.c.bytes), left)
            .where(jobs.c.status.in_(ACTIVE))
            .group_by(jobs.c.status)
        )
        with self.engine.connect() as connection:
            found = {status: (count, int(size), int(pages)) for status, count, size, pages in connection.execute(query)}
        return {status: found.get(status, (0, 0, 0)) for status in ACTIVE}

    def oldest_waiting(self) -> float | None:
        """When the oldest waiting job was created."""
        with self.engine.connect() as connection:
            return connection.execute(
                sa.select(sa.func.min(jobs.c.created_at)).where(jobs.c.status == "queued")
            ).scalar()

    def workers(self) -> int:
        """How many workers have a lease."""
        with self.engine.connect() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(workers)).scalar_one()

    def totals(self) -> dict[str, float]:
        """What has been counted so far, over all workers and restarts, by name."""
        with self.engine.connect() as connection:
            return {row.name: row.value for row in connection.execute(sa.select(totals))}

    def count(self, more: dict[str, float]) -> None:
        """Add to what has been counted."""
        with self.engine.begin() as connection:
            _count(connection, more)

    def begin(self, job: str, run: int) -> Job | None:
        """A job of which a run begins or goes on; None if it was cancelled, removed, or another run has its place."""
        self._change(job, run, status="running", started_at=sa.func.coalesce(jobs.c.started_at, time.time()))
        return self.current(job, run)

    def current(self, job: str, run: int) -> Job | None:
        """A job as it is; None if it was cancelled, removed, or another run has the place of this one."""
        known = self.get(job)
        return None if known is None or known.run != run or known.status == "cancelled" else known

    def split(self, job: str, run: int, pages: int, size: int) -> bool:
        return self._change(job, run, pages_total=pages, bytes=size)

    def progress(self, job: str, run: int, pages_done: int) -> bool:
        """The count only rises: a worker that goes on with a job counts from the start again."""
        highest = sa.case((jobs.c.pages_done > pages_done, jobs.c.pages_done), else_=pages_done)
        return self._change(job, run, pages_done=highest)

    def end(self, job: str, run: int, status: Status, failure: Failure | None = None, pages: int = 0) -> bool:
        """End a run of a job; False if it has ended already, or another run has taken its place. `pages`: counted."""
        shown = None if failure is None else JobFailure(**failure.as_json()).model_dump()
        kind = "" if failure is None else f"_{failure.kind}"
        with self.engine.begin() as connection:
            ended = self._update(connection, job, run, status=status, failure=shown, finished_at=time.time())
            if ended:
                _count(connection, {f"{status}{kind}": 1, "pages": pages})
        return ended

    def ended_before(self, when: float, limit: int) -> list[str]:
        """Ids of jobs that ended before a time."""
        query = sa.select(jobs.c.id).where(jobs.c.status.in_(ENDED), jobs.c.finished_at < when).limit(limit)
        with self.engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of some ids that are jobs."""
        with self.engine.connect() as connection:
            return set(connection.execute(sa.select(jobs.c.id).where(jobs.c.id.in_(ids))).scalars())

    def remove(self, job: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.delete(jobs).where(jobs.c.id == job))

    def _change(self, job: str, run: int, **values: Any) -> bool:
        with self.engine.begin() as connection:
            return self._update(connection, job, run, **values)

    def _update(self, connection: sa.Connection, job: str, run: int, **values: Any) -> bool:
        """Change a run of a job that has not ended; whether there was one."""
        query = sa.update(jobs).where(jobs.c.id == job, jobs.c.run == run, jobs.c.status.in_(ACTIVE))
        return connection.execute(query.values(**values)).rowcount > 0


def row_of(job: Job) -> dict[str, Any]:
    return job.model_dump(mode="json") | {"bytes": job.source.bytes}


def job_of(row: sa.Row[Any]) -> Job:
    values = dict(row._mapping)
    source = Source(**values.pop("source"))
    source.bytes = values.pop("bytes")
    return Job(source=source, **values)


def _count(connection: sa.Connection, more: dict[str, float]) -> None:
    insert = INSERT[connection.dialect.name]
    for name, value in more.items():
        query = insert(totals).values(name=name, value=value)
        more_of_it = {"value": totals.c.value + query.excluded.value}
        connection.execute(query.on_conflict_do_update(index_elements=[totals.c.name], set_=more_of_it))
