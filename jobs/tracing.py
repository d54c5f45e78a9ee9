"""Traces: from the request that submits a job over the job and each of its pages to the server's spans of the page.

Without an exporter there are no spans, and what a client's request says of its trace is handed on to the server.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode

from api import __version__
from api.tracing import Exporter, provider_of, shut_down
from jobs.job import Job

SERVICE = "paddleocr-vl-jobs"


class Traces:
    """The spans of one process."""

    def __init__(self, exporter: Exporter | None) -> None:
        self._provider = None if exporter is None else provider_of(exporter, SERVICE)
        self.tracer = self._provider.get_tracer(SERVICE, __version__) if self._provider else trace.NoOpTracer()

    def close(self) -> None:
        if self._provider is not None:
            shut_down(self._provider)

    @contextmanager
    def job(self, job: Job, run: int) -> Iterator[Span]:
        """The span of an execution of a job, in the trace of the request that submitted it."""
        facts: dict[str, str | int] = {
            "job.id": job.id,
            "job.run": run,
            "job.reader": job.reader,
            "job.client": job.client,
        }
        span = self.tracer.start_span("job", _parent(job), SpanKind.CONSUMER, facts)
        with _ended(span):
            yield span

    @contextmanager
    def page(self, job: Span, number: int) -> Iterator[str | None]:
        """The span of a page within its job's; gives the header traceparent that its request has."""
        context = trace.set_span_in_context(job, Context())
        span = self.tracer.start_span("page", context, SpanKind.CLIENT, {"page.number": number})
        with _ended(span):
            yield _traceparent(trace.set_span_in_context(span, Context()))


def traceparent_of(headers: Mapping[str, str]) -> str | None:
    """The trace that a request belongs to: that of the current span, or where there is none what its headers say."""
    inside = trace.get_current_span().get_span_context().is_valid
    return _traceparent(None if inside else propagate.extract(headers, Context()))


def _traceparent(context: Context | None) -> str | None:
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    return carrier.get("traceparent")


def _parent(job: Job) -> Context:
    return propagate.extract({"traceparent": job.traceparent} if job.traceparent else {}, Context())


@contextmanager
def _ended(span: Span) -> Iterator[None]:
    """Messages of errors may quote a document, so that a span tells only that there was one."""
    try:
        yield
    except BaseException:
        span.set_status(StatusCode.ERROR)
        raise
    finally:
        span.end()
