"""What every route that submits does: the upload goes into the store, then the job into the queue, or neither stays."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from starlette.datastructures import UploadFile

from api.errors import ApiError
from jobs.http.serving import Serving, answered
from jobs.job import Job, Source
from jobs.kinds import HEAD, KNOWN, media_type
from jobs.splitting import source_of
from jobs.texts import NUL

PIECE = 2**20  # bytes

Make = Callable[[Source, str], Job]
"""Makes a job of a source and of what tells the document from others."""


def check_size(serving: Serving, file: UploadFile) -> None:
    """Refuse what is too large before anything is kept. Raises ApiError."""
    if (file.size or 0) > serving.settings.jobs_max_bytes:
        message = f"{file.filename!r:.80} is over {serving.settings.jobs_max_bytes} bytes"
        raise ApiError(413, message, param="file", code="too_large")


async def uploaded(serving: Serving, file: UploadFile, make: Make) -> Job:
    """The job of an uploaded file, which is in the store by then. Raises ApiError."""
    name = (file.filename or "document")[-200:]
    if NUL in name:
        raise ApiError(400, f"the name of the file holds a NUL: {name!r:.80}", param="file")
    if media_type(await file.read(HEAD)) is None:
        raise ApiError(400, f"{name!r} is not a document in a supported format: {KNOWN}", param="file")
    job = make(Source(name=name, bytes=file.size or 0), await asyncio.to_thread(_digest, file))
    if job.own_id is not None and await asyncio.to_thread(answered, lambda: serving.queue.by_own_id(job)) is not None:
        return job  # the document is not kept twice
    await asyncio.to_thread(answered, lambda: serving.queue.check_room(job.source.bytes))
    await file.seek(0)
    try:
        await asyncio.to_thread(answered, lambda: serving.store.copy(source_of(job.id), file.file))
    except ApiError:
        await asyncio.to_thread(_forget, serving, [job])
        raise
    return job


async def all_uploaded(serving: Serving, files: Sequence[UploadFile], make: Make) -> list[Job]:
    """Jobs of all files; where one is refused, nothing stays of the others. Raises ApiError."""
    kept: list[Job] = []
    try:
        for file in files:
            kept.append(await uploaded(serving, file, make))  # noqa: PERF401 - what is kept so far is needed
    except ApiError:
        await asyncio.to_thread(_forget, serving, kept)
        raise
    return kept


def accept(serving: Serving, job: Job) -> tuple[Job, bool]:
    """The job as it waits, and whether it is new: a repeated one is given back. Raises ApiError."""
    try:
        known, is_new = answered(lambda: serving.queue.submit(job))
    except ApiError:
        _forget(serving, [job])
        raise
    if is_new:
        serving.metrics.submitted(1)
    else:
        _forget(serving, [job])
    return known, is_new


def accept_all(serving: Serving, new: Sequence[Job]) -> None:
    """Submit several jobs, all or none. Raises ApiError."""
    try:
        answered(lambda: serving.queue.submit_all(new))
    except ApiError:
        _forget(serving, new)
        raise
    serving.metrics.submitted(len(new))


def digest_of(*facts: Any) -> str:
    """What tells one request from another, of facts that are JSON."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _digest(file: UploadFile) -> str:
    file.file.seek(0)
    found = hashlib.sha256()
    while piece := file.file.read(PIECE):
        found.update(piece)
    return found.hexdigest()


def _forget(serving: Serving, new: Sequence[Job]) -> None:
    """Remove documents of jobs that are none; what stays for now goes with the keeper's next round."""
    for job in new:
        if job.source.url is None:
            answered(lambda job=job: serving.store.remove(job.id))  # type: ignore[misc]
