"""Facts about how a document was read, as texts, which go with its result and its derived content."""

from jobs.job import Job
from jobs.settings import JobSettings

ENGINE = "vllm"  # what simple-content-ocr calls an engine that is a server with OpenAI's API


def facts_of(job: Job, settings: JobSettings) -> dict[str, str]:
    return {
        "engine": ENGINE,
        "model": settings.model_name,
        "page_count": str(job.pages_total or 0),
        "processing_time_ms": str(milliseconds(job)),
    }


def milliseconds(job: Job) -> int:
    """How long it took to read."""
    if job.started_at is None or job.finished_at is None:
        return 0
    return round(max(0.0, job.finished_at - job.started_at) * 1000)
