"""Routes that follow jobs: list, one, its events, cancel, retry, remove."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from api.errors import ApiError
from jobs.http.serving import Serving, answered, job_of, owner_of, serving_of
from jobs.job import Job, Status
from jobs.records import Filter
from jobs.shown import shown

router = APIRouter()

MAX_LISTED = 100
WATCH_SECONDS = 0.5  # between two looks at a job that is followed
QUIET_SECONDS = 15.0  # after which a comment shows that the connection lives


@router.get("/v1/jobs")
def list_jobs(
    request: Request,
    status: Annotated[list[Status], Query()] = [],  # noqa: B006 - FastAPI copies it
    batch: str | None = None,
    id: str | None = None,  # noqa: A002 - the field's name
    created_after: float | None = None,
    created_before: float | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 20,
) -> dict[str, Any]:
    """Jobs, newest first; `after` the id of the last one of the page before. `id` is the client's own."""
    serving = serving_of(request)
    wanted = Filter(
        owner=owner_of(request),
        statuses=tuple(status),
        batch=batch,
        own_id=id,
        created_after=created_after,
        created_before=created_before,
        after=after,
        limit=limit + 1,
    )
    found = answered(lambda: serving.queue.records.listed(wanted))
    data = [shown(job, serving.settings.jobs_retention) for job in found[:limit]]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(found) > limit,
    }


@router.get("/v1/jobs/{job_id}")
def get_job(request: Request, job_id: str) -> dict[str, Any]:
    """A job, and while it waits, how many jobs are before it."""
    serving, job = serving_of(request), job_of(request, job_id)
    return _shown(serving, job)


@router.get("/v1/jobs/{job_id}/events")
async def follow(request: Request, job_id: str) -> StreamingResponse:
    """Server-sent events, each with the job as it is: `queued`, `running`, `progress`, and last how it ended."""
    job = await asyncio.to_thread(job_of, request, job_id)
    return StreamingResponse(
        _events(request, job), media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
    )


async def _events(request: Request, job: Job) -> AsyncIterator[str]:
    serving = serving_of(request)
    loop = asyncio.get_running_loop()
    seen: Job | None = None
    spoken = loop.time()
    while True:
        if seen is None or _differs(seen, job):
            name = "progress" if seen is not None and seen.status == job.status else job.status
            yield f"event: {name}\ndata: {json.dumps(_shown(serving, job), ensure_ascii=False)}\n\n"
            seen, spoken = job, loop.time()
        if job.ended:
            return
        if loop.time() - spoken > QUIET_SECONDS:
            yield ": still here\n\n"
            spoken = loop.time()
        await asyncio.sleep(WATCH_SECONDS)
        found = await asyncio.to_thread(serving.queue.records.get, job.id)
        if found is None:
            return
        job = found


def _differs(one: Job, other: Job) -> bool:
    facts = ("status", "pages_done", "pages_total", "run")
    return any(getattr(one, fact) != getattr(other, fact) for fact in facts)


@router.post("/v1/jobs/{job_id}/cancel")
def cancel(request: Request, job_id: str) -> dict[str, Any]:
    """Cancel a job that waits or runs: pages that are being read end at once. One that has ended stays as it is."""
    job = job_of(request, job_id)
    answered(lambda: serving_of(request).queue.cancel(job))
    return _shown(serving_of(request), job_of(request, job_id))


@router.post("/v1/jobs/{job_id}/retry", status_code=202)
def retry(request: Request, job_id: str) -> JSONResponse:
    """Let a job that failed or was cancelled run again. Pages that were read are not read again."""
    job = job_of(request, job_id)
    if not answered(lambda: serving_of(request).queue.retry(job)):
        raise ApiError(409, f"the job is {job.status}; only failed and cancelled ones can be retried", code="conflict")
    return JSONResponse(_shown(serving_of(request), job_of(request, job_id)), 202)


@router.delete("/v1/jobs/{job_id}", status_code=204)
def remove(request: Request, job_id: str) -> Response:
    """Cancel a job and remove it, its document and its results."""
    job = job_of(request, job_id)
    answered(lambda: serving_of(request).queue.remove(job))
    return Response(status_code=204)


def _shown(serving: Serving, job: Job) -> dict[str, Any]:
    ahead = answered(lambda: serving.queue.records.ahead(job)) if job.status == "queued" else None
    return shown(job, serving.settings.jobs_retention, ahead)
