"""One message of the queue, held with signs of life until its job has ended and its result is published."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from sqlalchemy.exc import SQLAlchemyError

from jobs.job import Job, Priority
from jobs.queue import JobQueue, OwnIdTakenError, QueueFullError
from jobs.settings import JobSettings
from jobs.simple_ocr import events
from jobs.simple_ocr.broker import Broker
from jobs.simple_ocr.requests import OcrRequest
from jobs.simple_ocr.results import OcrResult, result_of
from jobs.simple_ocr.submitting import job_of, submit
from jobs.store import StoreError
from jobs.tables import comes_back
from jobs.tracing import traceparent_of

logger = logging.getLogger(__name__)

T = TypeVar("T")

WATCH_SECONDS = 0.5  # between two looks at a job
PAUSE_SECONDS = 2.0  # after something could not be done for now
SIGNS = 3  # signs of life within the time that a message is held for
ENVELOPE = 4096  # bytes of an event beside its Markdown
QUEUE_OWNER = "nats:"  # the owner of jobs where there are keys: no key has this name


@dataclass(frozen=True, kw_only=True)
class Side:
    """What messages are handled with."""

    settings: JobSettings
    queue: JobQueue
    worker: str  # its name


class Message:
    def __init__(self, side: Side, broker: Broker, held: Msg, priority: Priority) -> None:
        self._side, self._broker, self._held, self._priority = side, broker, held, priority
        self._deliveries = held.metadata.num_delivered

    async def handle(self) -> None:
        """Until it is acknowledged. One that fails for a fault of ours is delivered again, within bounds."""
        async with self._kept():
            try:
                await self._handled()
            except events.NotAJobError as error:
                await self._refuse("validation", str(error))
            except Exception as error:
                logger.exception("A message of the queue could not be handled")
                if self._deliveries >= self._side.settings.nats_max_deliver:
                    await self._refuse("permanent", f"{type(error).__name__}: {error}")

    async def _handled(self) -> None:
        """Raises NotAJobError."""
        order = events.read(self._held.data, self._held.headers)
        job = self._job_of(order)
        if self._deliveries > self._side.settings.nats_max_deliver:
            await self._check_known(job)
        known = await self._submitted(job, force=order.request.force and self._deliveries == 1)
        await self._end(order.request, known, await self._followed(order.request, known))

    def _job_of(self, order: events.Order) -> Job:
        settings, request = self._side.settings, order.request
        with_keys = settings.api_keys is not None or settings.api_keys_file is not None
        try:
            return job_of(
                settings,
                request,
                owner=QUEUE_OWNER if with_keys else "",
                client=f"tenant:{request.tenant_id or request.owner_id or 'none'}",
                priority=self._priority,
                traceparent=traceparent_of({"traceparent": order.traceparent} if order.traceparent else {}),
            )
        except ValueError as error:
            raise events.NotAJobError(str(error)) from None

    async def _check_known(self, job: Job) -> None:
        try:
            known = await self._asked(lambda: self._side.queue.by_own_id(job))
        except OwnIdTakenError as error:
            raise events.NotAJobError(str(error)) from None
        if known is None:
            raise events.NotAJobError(f"it was delivered {self._deliveries} times and became no job")

    async def _submitted(self, job: Job, *, force: bool) -> Job:
        """The job, once there is room for it. Raises NotAJobError."""
        while True:
            try:
                return await self._asked(lambda: submit(self._side.queue, job, force=force))
            except QueueFullError as error:
                logger.info("%s; a message waits", error)
                await asyncio.sleep(PAUSE_SECONDS)
            except OwnIdTakenError as error:
                raise events.NotAJobError(str(error)) from None

    async def _followed(self, request: OcrRequest, job: Job) -> OcrResult:
        """The result, once there is one."""
        started, pages = False, 0
        while True:
            found, result = await self._asked(lambda: self._state(job))
            if found is None:
                said = "the job was removed"
                return OcrResult(job_id=request.job_id, status="failed", error_message=said, metadata=_CANCELLED)
            if found.started_at is not None and not started:
                started = True
                await self._tell("started", found, self._about(request))
            if found.pages_done > pages and found.pages_total:
                pages = found.pages_done
                await self._tell("progress", found, self._about(request) | _progress(found), str(pages))
            if result is not None:
                return result
            await asyncio.sleep(WATCH_SECONDS)

    def _state(self, job: Job) -> tuple[Job | None, OcrResult | None]:
        """The job as it is, if it is there, and its result, if there is one."""
        queue = self._side.queue
        found = queue.records.get(job.id)
        return found, None if found is None else result_of(found, queue.store, self._side.settings)

    async def _end(self, request: OcrRequest, job: Job, result: OcrResult) -> None:
        """Publish the result, and what failed as a dead letter, too."""
        data = self._about(request) | self._fitting(result, job).model_dump(mode="json")
        if result.status == "failed":
            data |= {"error_type": result.error_type, "retry_count": self._deliveries - 1}
        await self._tell(result.status, job, data)
        if result.status == "failed" and result.error_type != "cancelled":
            letter = {"job": request.model_dump(mode="json"), **data}
            await self._tell("dead_letter", job, letter)
        await self._acknowledge(result.status)

    def _fitting(self, result: OcrResult, job: Job) -> OcrResult:
        """The result without its Markdown where that is too large for a message."""
        size = len(result.model_dump_json()) + ENVELOPE
        if result.markdown_content is None or size <= self._broker.max_payload:
            return result
        where = {"markdown_at": f"/v1/jobs/{job.id}/result?format=markdown"}
        return result.model_copy(update={"markdown_content": None, "metadata": result.metadata | where})

    async def _refuse(self, error_type: str, message: str) -> None:
        """A message that becomes no job: a dead letter."""
        logger.warning("A message of the queue is refused: %s", message)
        place = f"{self._held.metadata.stream}.{self._held.metadata.sequence.stream}"
        data = {
            "error_type": error_type,
            "error_message": message,
            "retry_count": self._deliveries - 1,
            "worker_id": self._side.worker,
        }
        await self._published("failed", events.written("failed", place, data), f"{place}.failed")
        letter = {"message": events.raw(self._held.data), "nats_subject": self._held.subject, **data}
        await self._published("dead_letter", events.written("dead_letter", place, letter), f"{place}.dead_letter")
        await self._acknowledge("refused")

    def _about(self, request: OcrRequest) -> dict[str, Any]:
        return {
            "job_id": request.job_id,
            "content_id": request.content_id,
            "tenant_id": request.tenant_id,
            "worker_id": self._side.worker,
        }

    async def _tell(self, kind: events.EventKind, job: Job, data: dict[str, Any], more: str = "") -> None:
        body = events.written(kind, str(data["job_id"]), data)
        await self._published(kind, body, f"{job.workflow}.{kind}{more}")

    async def _published(self, kind: events.EventKind, body: bytes, name: str) -> None:
        while True:
            try:
                await self._broker.publish(kind, body, name)
                return
            except (NatsError, TimeoutError) as error:
                logger.warning("NATS: an event waits to be published: %s", error or type(error).__name__)
                await asyncio.sleep(PAUSE_SECONDS)

    async def _acknowledge(self, outcome: str) -> None:
        """In vain while the connection is gone: then the message comes again, and its result is published again."""
        with suppress(NatsError, TimeoutError):
            await self._held.ack_sync()
            await self._asked(lambda: self._side.queue.records.count({f"nats_{outcome}": 1}))

    async def _asked(self, work: Callable[[], T]) -> T:
        """What database and store say, waited for."""
        while True:
            try:
                return await asyncio.to_thread(work)
            except (SQLAlchemyError, StoreError) as error:
                if isinstance(error, SQLAlchemyError) and not comes_back(error):
                    raise
                logger.warning("%s; a message of the queue waits", error)
                await asyncio.sleep(PAUSE_SECONDS)

    @asynccontextmanager
    async def _kept(self) -> AsyncIterator[None]:
        """Show that the message is worked on."""

        async def show() -> None:
            while True:
                await asyncio.sleep(self._broker.ack_wait / SIGNS)
                with suppress(NatsError):
                    await self._held.in_progress()

        signs = asyncio.create_task(show())
        try:
            yield
        finally:
            signs.cancel()


_CANCELLED = {"error_type": "cancelled"}


def _progress(job: Job) -> dict[str, Any]:
    assert job.pages_total is not None
    percent = round(100 * job.pages_done / job.pages_total, 1)
    return {"pages_completed": job.pages_done, "total_pages": job.pages_total, "percent_complete": percent}
