"""PaddleOCR's job API, /api/v2/ocr/jobs, for the client and the command of the package `paddleocr`.

Results are fetched without a key, as that client does, at addresses that cannot be guessed.
"""

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, BinaryIO
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response, StreamingResponse
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from api.errors import ApiError, invalid
from jobs.formats import FORMATS, result_name
from jobs.http.accepting import accept, check_size, digest_of, uploaded
from jobs.http.serving import Serving, answered, idempotency_key, job_of, owner_of, serving_of
from jobs.job import Job, JobOptions, Source, new_id
from jobs.paddleocr.images import FILE_NAME, addressed, image_of
from jobs.paddleocr.reader import LAYOUT_PARSING
from jobs.paddleocr.requests import JobRequest
from jobs.paddleocr.states import shown
from jobs.records import Filter
from jobs.steps import page_name
from jobs.tracing import traceparent_of

router = APIRouter()

JOBS = "/api/v2/ocr/jobs"
RESULTS = "/api/v2/ocr/results/"
LINES = "result.jsonl"
FORMAT = "jsonl"
AT_ONCE = 500  # jobs of a batch that are read from the database at once
MAX_PLATFORM = 200  # characters


@router.post(JOBS)
async def submit(request: Request) -> dict[str, Any]:
    """Submit one document: JSON with `fileUrl`, or a form with `file`."""
    serving = serving_of(request)
    async with _reading(request) as (body, file):
        if (body.file_url is None) == (file is None):
            raise invalid("send one document: fileUrl, or a form with file", "fileUrl")

        def make(source: Source, content: str) -> Job:
            return _job(request, body, source, content)

        if file is None:
            assert body.file_url is not None
            job = make(Source(url=body.file_url), body.file_url)
        else:
            check_size(serving, file)
            job = await uploaded(serving, file, make)
    known, _ = await asyncio.to_thread(accept, serving, job)
    return _answer({"jobId": known.id})


@router.get(f"{JOBS}/{{job_id}}")
def get_job(request: Request, job_id: str) -> dict[str, Any]:
    job = job_of(request, job_id)
    if job.reader != LAYOUT_PARSING:
        raise ApiError(404, f"{job_id:.60} is no job of this API; GET /v1/jobs/{job_id:.60} shows it", code="not_found")
    return _answer(shown(job, _address(request, job, LINES)))


@router.get(f"{JOBS}/batch/{{batch_id}}")
def get_batch(request: Request, batch_id: str) -> dict[str, Any]:
    """All jobs that were submitted with this batchId, in the order in which they were."""
    found = [job for job in _batch(request, batch_id) if job.reader == LAYOUT_PARSING]
    if not found:
        raise ApiError(404, f"There is no job of the batch {batch_id:.60}; they may have expired.", code="not_found")
    found.reverse()
    listed = [shown(job, _address(request, job, LINES)) for job in found]
    return _answer({"batchId": batch_id, "extractResult": listed})


@router.get(f"{RESULTS}{{job_id}}/{LINES}", include_in_schema=False)
def lines(request: Request, job_id: str, token: str = "") -> StreamingResponse:
    """The result of a job that is done: a line a page."""
    serving, job = serving_of(request), _named(request, job_id, token)
    try:
        file = answered(lambda: serving.store.open(result_name(job.id, FORMAT)))
    except FileNotFoundError:
        raise _nothing() from None
    made = FORMATS[FORMAT]
    return StreamingResponse(_addressed(request, job, file), media_type=made.media_type)


@router.get(f"{RESULTS}{{job_id}}/{{name}}", include_in_schema=False)
def image(request: Request, job_id: str, name: str, token: str = "") -> Response:
    """An image that a line of the result names."""
    serving, job = serving_of(request), _named(request, job_id, token)
    found = FILE_NAME.fullmatch(name)
    if found is None:
        raise _nothing()
    try:
        page = json.loads(answered(lambda: serving.store.get(page_name(job.id, int(found[1])))))
    except FileNotFoundError:
        raise _nothing() from None
    data = image_of(page, found[2])
    if data is None:
        raise _nothing()
    return Response(data, media_type="image/jpeg", headers={"X-Content-Type-Options": "nosniff"})


def _answer(data: dict[str, Any]) -> dict[str, Any]:
    return {"code": 0, "msg": "Success", "data": data}


@asynccontextmanager
async def _reading(request: Request) -> AsyncIterator[tuple[JobRequest, UploadFile | None]]:
    """The request and its file, until it is done with. Raises ApiError, RequestValidationError, HTTPException."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=10) as form:
            yield _of_form(form)
    else:
        yield _validated(_json(await request.body(), None)), None


def _of_form(form: FormData) -> tuple[JobRequest, UploadFile | None]:
    fields: dict[str, Any] = {name: value for name, value in form.multi_items() if not isinstance(value, UploadFile)}
    files = {name: value for name, value in form.multi_items() if isinstance(value, UploadFile)}
    if name := next((name for name in files if name != "file"), None):
        raise invalid(f"{name!r:.80} is no field for a file; file is", name)
    if "optionalPayload" in fields:
        fields["optionalPayload"] = _json(fields["optionalPayload"], "optionalPayload")
    return _validated(fields), files.get("file")


def _json(text: str | bytes, param: str | None) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid(f"{param or 'the body'} is not JSON that can be read: {error}", param) from error


def _validated(body: Any) -> JobRequest:
    if not isinstance(body, dict):
        raise invalid("the body must be a JSON object, or a form with file", None)
    try:
        return JobRequest.model_validate({name: value for name, value in body.items() if value is not None})
    except ValidationError as error:
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]) from error


def _job(request: Request, body: JobRequest, source: Source, content: str) -> Job:
    """`content`: what tells the document from others."""
    fields = body.optional_payload
    platform = request.headers.get("client-platform", "")[:MAX_PLATFORM]
    return Job(
        id=new_id(),
        owner=owner_of(request),
        client=str(request.state.client),
        own_id=idempotency_key(request),
        digest=digest_of(content, fields, body.page_ranges),
        batch=body.batch_id,
        reader=LAYOUT_PARSING,
        source=source,
        options=JobOptions(
            pages=body.page_ranges,
            formats=[FORMAT],
            payload={"model": body.model, "fields": fields, "token": secrets.token_urlsafe(24)},
        ),
        metadata={"client_platform": platform} if platform else {},
        created_at=time.time(),
        traceparent=traceparent_of(request.headers),
    )


def _batch(request: Request, batch_id: str) -> Iterator[Job]:
    """The jobs of a batch, newest first."""
    serving, after = serving_of(request), None
    while True:
        wanted = Filter(owner=owner_of(request), batch=batch_id, after=after, limit=AT_ONCE)
        found = answered(lambda wanted=wanted: serving.queue.records.listed(wanted))  # type: ignore[misc]
        yield from found
        if len(found) < AT_ONCE:
            return
        after = found[-1].id


def _address(request: Request, job: Job, name: str) -> str:
    """The address of a file of a job's result. The token is no part of the path, which the log has."""
    base = serving_of(request).settings.jobs_public_url or str(request.base_url)
    query = urlencode({"token": job.options.payload["token"]})
    return f"{base.rstrip('/')}{RESULTS}{job.id}/{name}?{query}"


def _named(request: Request, job_id: str, token: str) -> Job:
    """The job of an address. Raises ApiError for one that was guessed, as for none."""
    serving: Serving = serving_of(request)
    job = answered(lambda: serving.queue.records.get(job_id))
    expected = "" if job is None else job.options.payload.get("token", "")
    if job is None or not expected or not hmac.compare_digest(token.encode(), expected.encode()):
        raise _nothing()
    return job


def _addressed(request: Request, job: Job, file: BinaryIO) -> Iterator[bytes]:
    with file:
        for line in file:
            made = addressed(json.loads(line), lambda name: _address(request, job, name))
            yield json.dumps(made, ensure_ascii=False).encode() + b"\n"


def _nothing() -> ApiError:
    return ApiError(404, "There is no such result; the address is wrong, or it has expired.", code="not_found")
