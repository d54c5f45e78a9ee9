"""Jobs as PaddleOCR's job API shows them."""

from datetime import UTC, datetime
from typing import Any

from jobs.job import Job, Status

STATES: dict[Status, str] = {
    "queued": "pending",
    "running": "running",
    "done": "done",
    "failed": "failed",
    "cancelled": "failed",
}


def shown(job: Job, result_url: str) -> dict[str, Any]:
    """`data` of a job. `result_url`: of its JSONL, once it is done."""
    state: dict[str, Any] = {"jobId": job.id, "state": STATES[job.status]}
    if job.pages_total is not None:
        state["extractProgress"] = {
            "totalPages": job.pages_total,
            "extractedPages": job.pages_done,
            "startTime": _time(job.started_at),
            "endTime": _time(job.finished_at),
        }
    if job.status == "done":
        state["resultUrl"] = {"jsonUrl": result_url}
    if job.failure is not None:
        page = "" if job.failure.page is None else f"page {job.failure.page}: "
        state["errorMsg"] = f"{page}{job.failure.message}"
    elif job.status == "cancelled":
        state["errorMsg"] = "the job was cancelled"
    return state


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
