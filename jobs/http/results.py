"""Routes with what was read: the whole result in its formats, its images, and single pages as soon as they are read."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from api.errors import ApiError, invalid
from jobs.formats import FORMATS, image_name, result_name
from jobs.http.serving import answered, job_of, serving_of
from jobs.job import Job
from jobs.steps import page_name

router = APIRouter()

PIECE = 2**18  # bytes that are sent at once


@router.get("/v1/jobs/{job_id}/result")
def result(request: Request, job_id: str, format: str | None = None) -> Response:  # noqa: A002 - the field's name
    """The result in a format that the job asked for, by default its first."""
    job = job_of(request, job_id)
    wanted = format or job.options.formats[0]
    if wanted not in job.options.formats:
        raise invalid(f"format: the job has {', '.join(job.options.formats)}, got {wanted!r:.40}", "format")
    if job.status != "done":
        raise _not_done(job)
    return _file(request, result_name(job.id, wanted), FORMATS[wanted].media_type, _file_name(job, wanted))


@router.get("/v1/jobs/{job_id}/images/{name}")
def image(request: Request, job_id: str, name: str) -> Response:
    """An image that the Markdown links to, of a job with `"images": "link"`."""
    job = job_of(request, job_id)
    if "/" in name or name.startswith("."):
        raise ApiError(404, f"There is no image {name:.80}.", code="not_found")
    return _file(request, image_name(job.id, name), "image/png", name)


@router.get("/v1/jobs/{job_id}/pages/{number}")
def page(request: Request, job_id: str, number: int) -> JSONResponse:
    """What was read on a page, from 1, with its own Markdown; also while the job still runs."""
    job, serving = job_of(request, job_id), serving_of(request)
    try:
        kept: dict[str, Any] = json.loads(answered(lambda: serving.store.get(page_name(job.id, number))))
    except FileNotFoundError:
        raise ApiError(404, f"Page {number} has not been read, or is none of the document.", code="not_found") from None
    document = serving.readers[job.reader].join(job, [kept])
    shown = {"object": "job.page", "job": job.id, "page": number, "markdown": document.markdown}
    return JSONResponse(shown | {"facts": document.pages[0], "blocks": document.blocks})


def _not_done(job: Job) -> ApiError:
    if job.status == "failed" and job.failure is not None:
        return ApiError(409, f"the job failed: {job.failure.message}", code=job.failure.code)
    return ApiError(409, f"the job is {job.status}; its result is there once it is done", code="not_done")


def _file_name(job: Job, wanted: str) -> str:
    name = (job.source.name or job.source.url or job.id).rstrip("/").rsplit("/", 1)[-1]
    return f"{name.rsplit('.', 1)[0] or job.id}.{FORMATS[wanted].suffix}"


def _file(request: Request, name: str, media_type: str, shown: str) -> Response:
    store = serving_of(request).store
    try:
        file = answered(lambda: store.open(name))
    except FileNotFoundError:
        raise ApiError(404, f"There is no {shown:.80}.", code="not_found") from None
    headers = {"Content-Disposition": f"inline; filename*=UTF-8''{quote(shown)}", "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(_pieces(file), media_type=media_type, headers=headers)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE):
            yield piece
