"""A request of simple-content-ocr -> a job. Its `job_id` is the id of the client: a repeated request gets that job."""

import hashlib
import json
import logging
import time

from jobs.job import Job, JobOptions, Priority, Source, new_id
from jobs.queue import JobQueue
from jobs.records import Filter
from jobs.settings import JobSettings
from jobs.simple_ocr.content import CONTENT
from jobs.simple_ocr.requests import OcrRequest

logger = logging.getLogger(__name__)


def job_of(
    settings: JobSettings,
    request: OcrRequest,
    *,
    owner: str,
    client: str,
    priority: Priority = "normal",
    traceparent: str | None = None,
) -> Job:
    """The job, with a priority that its hint may change. Raises ValueError for a hint that cannot be met."""
    seconds = request.page_seconds
    if seconds is not None and seconds > settings.jobs_page_seconds:
        raise ValueError(f"hints.timeout_seconds is over JOBS_PAGE_SECONDS, {settings.jobs_page_seconds:g}")
    hinted = request.hint("priority")
    if request.unknown_hints:
        logger.warning("Hints that are not known: %s", ", ".join(request.unknown_hints)[:200])
    return Job(
        id=new_id(),
        owner=owner,
        client=client,
        own_id=request.job_id,
        digest=_digest(request),
        source=Source(url=request.source_url),
        options=JobOptions(
            payload={"request": request.model_dump(exclude={"source_url"}), "page_seconds": seconds},
        ),
        deliver=[{"kind": CONTENT}] if settings.content_api_url else [],
        metadata=request.metadata,
        priority=priority if hinted is None else hinted,  # type: ignore[arg-type]
        created_at=time.time(),
        traceparent=traceparent,
    )


def submit(queue: JobQueue, job: Job, *, force: bool = False) -> Job:
    """The job as it waits, or the one that has its id. With `force` one that has ended makes room for it.

    Raises QueueFullError, OwnIdTakenError, StoreError, SQLAlchemyError.
    """
    for known in queue.records.listed(Filter(owner=job.owner, own_id=job.own_id)) if force else ():
        if known.ended:
            queue.remove(known)
    return queue.submit(job)[0]


def _digest(request: OcrRequest) -> str:
    """What tells a document from others: not its address, which is signed anew for each request."""
    facts = json.dumps([request.content_id, request.object_id, request.mime_type])
    return hashlib.sha256(facts.encode()).hexdigest()
