"""A job as clients see it."""

from datetime import timedelta
from typing import Any

from jobs.job import Job


def shown(job: Job, kept: timedelta, ahead: int | None = None) -> dict[str, Any]:
    """The JSON of a job. `kept`: how long it is kept once it has ended; `ahead`: waiting jobs before it, if known."""
    results = {wanted: f"/v1/jobs/{job.id}/result?format={wanted}" for wanted in job.options.formats}
    return {
        "id": job.id,
        "object": "job",
        "status": job.status,
        "own_id": job.own_id,
        "batch": job.batch,
        "priority": job.priority,
        "created_at": int(job.created_at),
        "started_at": _whole(job.started_at),
        "finished_at": _whole(job.finished_at),
        "expires_at": None if job.finished_at is None else int(job.finished_at + kept.total_seconds()),
        "run": job.run,
        "ahead": ahead,
        "source": job.source.model_dump(),
        "options": job.options.model_dump(exclude={"payload"}),
        "pages": {"total": job.pages_total, "done": job.pages_done},
        "error": None if job.failure is None else job.failure.model_dump(),
        "results": results if job.status == "done" else {},
        "metadata": job.metadata,
    }


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)
