"""A job that has ended -> simple-content-ocr's result."""

import json
import time
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel

from jobs.delivery import outcomes_name
from jobs.failures import Kind
from jobs.formats import result_name
from jobs.job import Job
from jobs.settings import JobSettings
from jobs.simple_ocr.content import CONTENT
from jobs.simple_ocr.facts import facts_of, milliseconds
from jobs.store import Store

ErrorType = Literal["validation", "transient", "permanent", "cancelled"]
ERROR_TYPES: dict[Kind, ErrorType] = {"input": "validation", "passing": "transient", "ours": "permanent"}
DELIVERY_SECONDS = 900.0  # after its end, in which a job's deliveries end one way or the other


class OcrResult(BaseModel):
    job_id: str
    status: Literal["completed", "failed"]
    markdown_content: str | None = None
    error_message: str | None = None
    processing_time_ms: int | None = None
    page_count: int | None = None
    completed_at: datetime | None = None
    metadata: dict[str, str] = {}

    @property
    def error_type(self) -> str | None:
        return self.metadata.get("error_type")


def result_of(job: Job, store: Store, settings: JobSettings) -> OcrResult | None:
    """The result; None while the job, or the delivery of its content, is under way. Raises StoreError."""
    if not job.ended:
        return None
    request = job.options.payload["request"]
    result = OcrResult(
        job_id=request["job_id"],
        status="completed" if job.status == "done" else "failed",
        processing_time_ms=milliseconds(job),
        page_count=job.pages_total,
        completed_at=None if job.finished_at is None else datetime.fromtimestamp(job.finished_at, UTC),
        metadata={
            "content_id": request["content_id"],
            "object_id": request["object_id"],
            "mime_type": request["mime_type"],
            "vllm_url": ",".join(settings.vllm_url),
            **facts_of(job, settings),
        },
    )
    if job.status != "done":
        return _failed(result, *_reason(job))
    result.markdown_content = store.get(result_name(job.id, "markdown")).decode()
    if not job.deliver:
        return result
    outcome = _outcome(job, store)
    if outcome is None:
        return None
    if outcome.get("error") is not None:
        return _failed(result, str(outcome["error"]), ERROR_TYPES[outcome["kind"]])
    result.metadata["derived_id"] = outcome["derived_id"]
    return result


def _failed(result: OcrResult, message: str, error_type: ErrorType) -> OcrResult:
    result.status, result.error_message = "failed", message
    result.metadata["error_type"] = error_type
    return result


def _reason(job: Job) -> tuple[str, ErrorType]:
    if job.failure is None:
        return "the job was cancelled", "cancelled"
    page = "" if job.failure.page is None else f"page {job.failure.page}: "
    return f"{page}{job.failure.message}", ERROR_TYPES[job.failure.kind]


def _outcome(job: Job, store: Store) -> dict[str, Any] | None:
    """What became of the derived content; None if that is not known yet."""
    try:
        outcomes: list[dict[str, Any]] = json.loads(store.get(outcomes_name(job)))
    except FileNotFoundError:
        if job.finished_at is not None and time.time() - job.finished_at > DELIVERY_SECONDS:
            return {"error": "the derived content was not stored; the log of its worker says why", "kind": "ours"}
        return None
    return next(outcome for outcome in outcomes if outcome["target"] == CONTENT)
