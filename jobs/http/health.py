"""Routes about the API itself: health, version and metrics."""

import time
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.exc import SQLAlchemyError

from api import __version__
from jobs.http.serving import Serving, answered, serving_of
from jobs.store import StoreError

router = APIRouter()

SERVICE = "paddleocr-vl-jobs"


@router.get("/health")
def health(request: Request) -> JSONResponse:
    """200 while jobs can be accepted; 503 with a reason while database or store cannot be used."""
    serving = serving_of(request)
    reason, counts = state_of(serving)
    body: dict[str, Any] = {
        "status": "unhealthy" if reason else "healthy",
        "version": __version__,
        "service": SERVICE,
    }
    if request.state.known:
        body |= {
            "reason": reason,
            "worker": serving.worker,
            "uptime_seconds": int(time.monotonic() - serving.began),
            "jobs": {status: count for status, (count, _, _) in counts.items()},
        }
    return JSONResponse(body, 503 if reason else 200)


def state_of(serving: Serving) -> tuple[str | None, dict[str, tuple[int, int, int]]]:
    """Why no jobs can be accepted, if none can, and counts of active jobs."""
    try:
        counts = serving.queue.records.counts()
        serving.store.check()
    except SQLAlchemyError:
        return "the database of jobs cannot be used", {}
    except StoreError as error:
        return str(error), {}
    return None, counts


@router.get("/version")
def version() -> dict[str, str]:
    return {"version": __version__}


@router.get("/metrics", include_in_schema=False)
def metrics(request: Request) -> Response:
    return Response(answered(serving_of(request).metrics.text), media_type=CONTENT_TYPE_LATEST)
