"""simple-content-ocr's API: a document in, its Markdown out, in one request. Behind it is a job, found by its `job_id`.

A client that loses its connection asks again with the same `job_id`, and gets the result without another reading.
"""

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api import __version__
from api.errors import ApiError, invalid
from api.gate import GONE
from jobs.http.health import SERVICE, state_of
from jobs.http.serving import Serving, answered, owner_of, serving_of
from jobs.job import Job
from jobs.simple_ocr.facts import ENGINE
from jobs.simple_ocr.requests import OcrRequest
from jobs.simple_ocr.results import OcrResult, result_of
from jobs.simple_ocr.submitting import job_of, submit
from jobs.tracing import traceparent_of

router = APIRouter()

WATCH_SECONDS = (0.1, 2.0)  # between two looks at a job that is waited for: at first, and at most


@router.post("/api/v1/ocr/process", response_model=OcrResult)
async def process(body: OcrRequest, request: Request) -> Response:
    """Read a document and wait for it. One that cannot be read is answered with 200 and the status `failed`."""
    serving = serving_of(request)
    try:
        job = job_of(
            serving.settings,
            body,
            owner=owner_of(request),
            client=str(request.state.client),
            traceparent=traceparent_of(request.headers),
        )
    except ValueError as error:
        raise invalid(str(error), "hints") from error
    known = await asyncio.to_thread(answered, lambda: submit(serving.queue, job, force=body.force))
    if known.id == job.id:
        serving.metrics.submitted(1)
    pause, longest = WATCH_SECONDS
    while True:
        result = await asyncio.to_thread(_result, serving, known)
        if result is not None:
            return JSONResponse(result.model_dump(mode="json"))
        if await request.is_disconnected():
            return Response(status_code=GONE)
        await asyncio.sleep(pause)
        pause = min(longest, pause * 1.25)


def _result(serving: Serving, job: Job) -> OcrResult | None:
    """Raises ApiError."""
    known = answered(lambda: serving.queue.records.get(job.id))
    if known is None:
        raise ApiError(409, "the job was removed while it was waited for", code="removed")
    return answered(lambda: result_of(known, serving.store, serving.settings))


@router.get("/api/v1/ocr/health")
def health(request: Request) -> JSONResponse:
    reason, _ = state_of(serving_of(request))
    body = {
        "status": "unhealthy" if reason else "healthy",
        "service": SERVICE,
        "version": __version__,
        "ocr_engine": ENGINE,
    }
    return JSONResponse(body, 503 if reason else 200)


@router.get("/api/v1/ocr/engines")
def engines(request: Request) -> JSONResponse:
    config = {"model_name": serving_of(request).settings.model_name}
    return JSONResponse({"available_engines": [ENGINE], "current_engine": ENGINE, "engine_config": config})
