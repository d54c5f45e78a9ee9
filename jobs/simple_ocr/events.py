"""CloudEvents 1.0: jobs of the queue come in them, and what becomes of jobs goes out in them.

Source: github.com/cloudevents/spec, its JSON format and its NATS binding; types of simple-content-ocr's worker.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ValidationError

from jobs.simple_ocr.requests import OcrRequest

EventKind = Literal["started", "progress", "completed", "failed", "dead_letter"]
SOURCE = "paddleocr-vl-jobs"
BINARY = "ce-"  # what names of headers begin with in the binary mode, where the body is the data
MAX_RAW = 64 * 1024  # characters of a message that is no job, in its dead letter


class NotAJobError(Exception):
    """A message that holds no job."""


@dataclass(frozen=True)
class Order:
    """A job as it came from the queue."""

    request: OcrRequest
    traceparent: str | None


def read(body: bytes, headers: Mapping[str, str] | None) -> Order:
    """Raises NotAJobError, which says what is wrong."""
    attributes = {name.lower(): value for name, value in (headers or {}).items()}
    data = _json(body)
    if f"{BINARY}specversion" not in attributes:
        _check_envelope(data)
        attributes |= {name: value for name, value in data.items() if isinstance(value, str)}
        data = data["data"]
    try:
        trace = attributes.get("traceparent", attributes.get(f"{BINARY}traceparent"))
        return Order(OcrRequest.model_validate(data), trace)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, ("data", *fault["loc"])))
        raise NotAJobError(f"{where}: {fault['msg'].removeprefix('Value error, ')}") from None


def _check_envelope(event: Any) -> None:
    if not isinstance(event, dict) or "specversion" not in event:
        raise NotAJobError("it is no CloudEvent: specversion is missing")
    if event["specversion"] != "1.0":
        raise NotAJobError(f"specversion must be 1.0, got {event['specversion']!r:.40}")
    if "data" not in event:
        raise NotAJobError("data is missing")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotAJobError(f"it is not JSON that can be read: {error}") from None


def written(kind: EventKind, subject: str, data: Mapping[str, Any]) -> bytes:
    """`subject`: the id of the job."""
    event = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": SOURCE,
        "type": f"com.simple-ocr.job.{kind}",
        "subject": subject,
        "time": datetime.now(UTC).isoformat(),
        "datacontenttype": "application/json",
        "data": data,
    }
    return json.dumps(event).encode()


def raw(body: bytes) -> str:
    return body[:MAX_RAW].decode(errors="replace")
