"""The workflow of one document: split, read pages, join, deliver, each a step that DBOS checkpoints.

After a crash DBOS runs it again, on this worker or another, and gives what finished steps returned. The ids of steps
are reserved in a fixed order, since pages finish in any. Steps return a failure instead of raising it, so that it is
kept as it was.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from dbos import DBOS, StepOptions, StepReservation
from opentelemetry.trace import INVALID_SPAN, Span

from jobs.context import Context
from jobs.delivery import deliver
from jobs.failures import Failure, ours, passing
from jobs.job import Job, Status
from jobs.queue import WORKFLOW
from jobs.splitting import Pages
from jobs.steps import clean_up, join_pages, read_page, recorded, split_document

logger = logging.getLogger(__name__)

MAX_RECOVERIES = 100  # restarts of a worker that one run survives
MAX_FAILED_PAGES = 3  # after which no further page is begun
FAILURE = "failure"
SUPERSEDED = "superseded"  # the outcome of an execution whose job was cancelled, removed or is run anew


def register(context: Context) -> None:
    """Make the workflow known to DBOS, which this process has configured."""

    @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=MAX_RECOVERIES)
    async def read_document(job_id: str, run: int) -> str:
        return await _Run(context, job_id, run).all()


class _Run:
    """One execution of a run of a job."""

    def __init__(self, context: Context, job_id: str, run: int) -> None:
        self._context, self._id, self._run = context, job_id, run
        self._began = time.monotonic()
        self._asked = 0  # pages, by this execution
        self._span: Span = INVALID_SPAN

    async def all(self) -> str:
        """The status it ends with. Whatever happens, the job gets one, unless another execution takes its place."""
        job = await recorded(self._context.records.begin, self._id, self._run)
        if job is None:
            return SUPERSEDED
        ending, delivering, splitting = DBOS.reserve_step(), DBOS.reserve_step(), DBOS.reserve_step()
        with self._context.traces.job(job, self._run) as self._span:
            failure = None if job.ended else await self._failure_of(job, splitting)
            ended = await self._step(ending, "end", self._end, job, failure)
            self._span.set_attribute("job.status", ended["status"])
            if ended["status"] != SUPERSEDED:
                await self._step(delivering, "deliver", self._deliver, job)
        return str(ended["status"])

    async def _failure_of(self, job: Job, splitting: StepReservation) -> Failure | None:
        """Read the document; why it could not be read, if it could not."""
        seconds = self._context.settings.jobs_seconds.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                await self._read(job, Pages(**await self._step(splitting, "split", self._split, job)))
        except TimeoutError:
            return passing("job_timeout", f"the job took longer than JOBS_SECONDS, {seconds:g} seconds")
        except Failure as failure:
            return failure
        return None

    async def _read(self, job: Job, pages: Pages) -> None:
        """Read all pages, then join them. Raises Failure."""
        records = self._context.records
        await recorded(records.split, job.id, self._run, len(pages.numbers), pages.size)
        steps = {number: DBOS.reserve_step() for number in pages.numbers}
        joining = DBOS.reserve_step()
        failures: list[Failure] = []
        done = 0

        async def one(number: int) -> None:
            nonlocal done
            if len(failures) >= MAX_FAILED_PAGES:
                return
            try:
                await self._step(steps[number], "page", self._page, job, pages, number)
            except Failure as failure:
                failures.append(failure)
                return
            done += 1
            await recorded(records.progress, job.id, self._run, done)

        await self._some_at_once(one, pages.numbers)
        if failures:
            raise min(failures, key=lambda failure: failure.page or 0)
        await self._step(joining, "join", self._join, job, pages)

    async def _some_at_once(self, work: Callable[[int], Awaitable[None]], numbers: list[int]) -> None:
        """Work on all pages, in their order, as many at once as all servers together take."""
        settings = self._context.settings
        left = iter(numbers)

        async def next_ones() -> None:
            for number in left:
                await work(number)

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(len(numbers), settings.jobs_pages * len(settings.vllm_url))):
                    tasks.create_task(next_ones())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None  # DBOS tells by its type that a job was cancelled or taken over

    async def _step(
        self, reserved: StepReservation, name: str, work: Callable[..., Awaitable[dict[str, Any]]], *arguments: Any
    ) -> dict[str, Any]:
        """What a step returns, or has returned. Raises Failure."""

        async def guarded() -> dict[str, Any]:
            try:
                return await work(*arguments)
            except Failure as failure:
                return {FAILURE: failure.as_json()}
            except Exception as error:
                logger.exception("A step failed: %s", name, extra={"facts": {"job": self._id}})
                return {FAILURE: ours("internal", f"{type(error).__name__}: {error}").as_json()}

        async with self._context.drain.step():
            result = await reserved.run_async(StepOptions(name=name, preemptible=True), guarded)
        if FAILURE in result:
            raise Failure(**result[FAILURE])
        return result

    async def _split(self, job: Job) -> dict[str, Any]:
        return asdict(await split_document(self._context, job))

    async def _page(self, job: Job, pages: Pages, number: int) -> dict[str, Any]:
        with self._context.traces.page(self._span, number) as traceparent:
            asked = await read_page(self._context, job, pages, number, traceparent)
        self._asked += asked
        return {"asked": asked}

    async def _join(self, job: Job, pages: Pages) -> dict[str, Any]:
        await join_pages(self._context, job, pages.numbers)
        return {}

    async def _end(self, job: Job, failure: Failure | None) -> dict[str, Any]:
        """The status that the run ends with, also where another execution noted it: the targets must be told of it."""
        records = self._context.records
        known = await recorded(records.current, job.id, self._run)
        if known is not None and not known.ended:
            status: Status = "done" if failure is None else "failed"
            if await recorded(records.end, job.id, self._run, status, failure, known.pages_done):
                if failure is None:
                    await clean_up(self._context, job)
                self._log(known, status, failure)
                return {"status": status}
            # Another execution was faster, or a database that broke off has kept the end without saying so.
            known = await recorded(records.current, job.id, self._run)
        return {"status": SUPERSEDED if known is None else known.status}

    async def _deliver(self, job: Job) -> dict[str, Any]:
        await deliver(self._context, job)
        return {}

    def _log(self, job: Job, status: str, failure: Failure | None) -> None:
        facts: dict[str, Any] = {
            "job": job.id,
            "client": job.client,
            "status": status,
            "pages": job.pages_done,
            "asked": self._asked,
            "bytes": job.source.bytes,
            "waited": round((job.started_at or job.created_at) - job.created_at, 3),
            "seconds": round(time.monotonic() - self._began, 3),
            "run": self._run,
        }
        if job.own_id is not None:
            facts["id"] = job.own_id
        if failure is not None:
            facts |= {name: value for name, value in failure.as_json().items() if value is not None}
        logger.info("job %s", status, extra={"facts": facts})
