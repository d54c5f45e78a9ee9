"""POST /v1/jobs: documents become jobs. What is answered with 202 is kept, whatever ends after that."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile

from api.errors import invalid
from jobs.http.accepting import accept, accept_all, all_uploaded, check_size, digest_of
from jobs.http.requests import SubmitRequest, reading
from jobs.http.serving import Serving, idempotency_key, owner_of, serving_of
from jobs.job import Job, Source, new_id
from jobs.shown import shown
from jobs.tracing import traceparent_of

router = APIRouter()


@router.post("/v1/jobs", status_code=202)
async def submit(request: Request) -> JSONResponse:
    """Submit documents: JSON with `url`, one or a list, or a form with `file`, one or several.

    One document is answered with its job, several with a list. A request that repeats the client's own `id` gets the
    job that it stands for, with status 200.
    """
    serving = serving_of(request)
    async with reading(request) as (body, files):
        _check(body, files, serving)

        def make(source: Source, content: str) -> Job:
            return _job(request, body, source, content)

        new = await all_uploaded(serving, files, make)
    new += [make(Source(url=url), url) for url in body.url]
    if len(new) == 1:
        return await asyncio.to_thread(_submit_one, serving, new[0])
    if body.batch is None:
        batch = f"batch_{new_id()[4:]}"
        for job in new:
            job.batch = batch
    return await asyncio.to_thread(_submit_several, serving, new)


def _check(body: SubmitRequest, files: list[UploadFile], serving: Serving) -> None:
    """Refuse what can be refused before anything is kept. Raises ApiError."""
    count = len(body.url) + len(files)
    if not count:
        raise invalid("there is no document: send url, or a form with file", "url")
    if body.id is not None and count > 1:
        raise invalid(f"id stands for one document, and there are {count}", "id")
    if body.webhook is not None and serving.settings.jobs_webhook_secret is None:
        raise invalid("webhooks need the setting JOBS_WEBHOOK_SECRET, which signs them", "webhook")
    for file in files:
        check_size(serving, file)


def _job(request: Request, body: SubmitRequest, source: Source, content: str) -> Job:
    """`content`: what tells the document from others."""
    options = body.options()
    return Job(
        id=new_id(),
        owner=owner_of(request),
        client=str(request.state.client),
        own_id=body.id or idempotency_key(request),
        digest=digest_of(content, options.model_dump(mode="json")),
        batch=body.batch,
        source=source,
        options=options,
        deliver=[] if body.webhook is None else [{"kind": "webhook", "url": body.webhook}],
        metadata=body.metadata,
        priority=body.priority,
        created_at=time.time(),
        traceparent=traceparent_of(request.headers),
    )


def _submit_one(serving: Serving, job: Job) -> JSONResponse:
    known, is_new = accept(serving, job)
    body = shown(known, serving.settings.jobs_retention)
    return JSONResponse(body, 202 if is_new else 200, {"Location": f"/v1/jobs/{known.id}"})


def _submit_several(serving: Serving, new: list[Job]) -> JSONResponse:
    accept_all(serving, new)
    listed: list[dict[str, Any]] = [shown(job, serving.settings.jobs_retention) for job in new]
    return JSONResponse({"object": "list", "batch": new[0].batch, "data": listed}, 202)
