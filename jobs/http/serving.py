"""What the routes work with."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, cast

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.exc import SQLAlchemyError

from api.errors import ApiError, invalid
from jobs.job import Job
from jobs.metrics import Metrics
from jobs.queue import JobQueue, OwnIdTakenError, QueueFullError
from jobs.reading import Reader
from jobs.settings import JobSettings
from jobs.store import Store, StoreError
from jobs.texts import Name

T = TypeVar("T")
RETRY_SECONDS = 10  # for a database or a store that cannot be used now
_NAME: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(kw_only=True)
class Serving:
    """The OCR API of one process."""

    settings: JobSettings
    queue: JobQueue
    store: Store
    readers: dict[str, Reader]
    metrics: Metrics
    with_keys: bool
    worker: str | None = None  # the name of the worker in this process
    began: float = field(default_factory=time.monotonic)


def serving_of(request: Request) -> Serving:
    return cast(Serving, request.app.state.serving)


def owner_of(request: Request) -> str:
    """The owner of the jobs that a request makes and may see: its key, or "" where there are no keys."""
    return str(request.state.client) if serving_of(request).with_keys else ""


def idempotency_key(request: Request) -> str | None:
    """The client's own id for the job, by a header. Raises ApiError."""
    key = request.headers.get("idempotency-key")
    try:
        return None if key is None else _NAME.validate_python(key)
    except ValidationError as error:
        raise invalid(f"Idempotency-Key: {error.errors()[0]['msg']}", "Idempotency-Key") from error


def job_of(request: Request, job_id: str) -> Job:
    """A job that the client may see. Raises ApiError."""
    job = answered(lambda: serving_of(request).queue.records.get(job_id, owner_of(request)))
    if job is None:
        raise ApiError(404, f"There is no job {job_id:.60}; it may have expired.", code="not_found")
    return job


def answered(work: Callable[[], T]) -> T:
    """What work gives; what database, store and queue raise, as ApiError."""
    try:
        return work()
    except QueueFullError as error:
        headers = {"Retry-After": str(error.retry_after)}
        raise ApiError(429, str(error), type_="rate_limit_error", code="queue_full", headers=headers) from error
    except OwnIdTakenError as error:
        raise ApiError(409, str(error), param="id", code="id_taken") from error
    except StoreError as error:
        raise _unavailable(str(error), "store_unavailable") from error
    except SQLAlchemyError as error:
        raise _unavailable("the database of jobs cannot be used now", "database_unavailable") from error


def _unavailable(message: str, code: str) -> ApiError:
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return ApiError(503, message, type_="server_error", code=code, headers=headers)
