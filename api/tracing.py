"""OpenTelemetry: a span for each request, and within a chat's span one for each phase of it.

Used only if an exporter is set; the engine reports plain times and knows nothing of it. OpenTelemetry's SDK reads the
rest from its own environment variables: OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, ...
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from api import __version__
from api.logs import QUIET, facts_of, suppressed_errors
from api.middleware import HttpMiddleware

Exporter = Literal["otlp", "console"]
SECONDS_TO_SEND = 2.0

NAMES = {  # OpenTelemetry's own names for the log's facts; ours for the rest
    "model": "gen_ai.response.model",
    "id": "gen_ai.response.id",
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
    "finish_reasons": "gen_ai.response.finish_reasons",
}
ATTRIBUTES = (*NAMES, "client", "mode", "pictures", "cached_tokens")


@asynccontextmanager
async def collecting(exporter: Exporter, app: Starlette) -> AsyncIterator[None]:
    """The lifespan of a traced app."""
    provider = provider_of(exporter, "paddleocr-vl")
    app.state.tracer = provider.get_tracer("paddleocr-vl", __version__)
    yield
    await asyncio.to_thread(shut_down, provider)


def provider_of(exporter: Exporter, service: str) -> TracerProvider:
    """What gives tracers to a process, to be shut down by it."""
    own = Resource.create({SERVICE_NAME: service, SERVICE_VERSION: __version__})
    provider = TracerProvider(
        resource=own.merge(OTELResourceDetector().detect()),  # the environment's attributes win
        shutdown_on_exit=False,  # nothing runs at exit if a signal ends the process
    )
    provider.add_span_processor(BatchSpanProcessor(_exporter(exporter)))
    return provider


def shut_down(provider: TracerProvider) -> None:
    """Send remaining spans, if the collector is quick."""
    last = threading.Thread(target=provider.shutdown, daemon=True)
    last.start()
    last.join(SECONDS_TO_SEND)


class RequestTrace(HttpMiddleware):
    """Middleware that traces each request, except polls of health and metrics."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in QUIET:
            await self.app(scope, receive, send)
            return
        status = 500

        async def with_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        parent = propagate.extract(Headers(scope=scope))
        tracer: trace.Tracer = scope["app"].state.tracer
        span = tracer.start_span(scope["method"], parent, SpanKind.SERVER)
        scope["state"]["trace_id"] = trace.format_trace_id(span.get_span_context().trace_id)
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):  # it may quote a client
                await self.app(scope, receive, with_status)
        finally:
            with suppressed_errors("The trace is incomplete"):
                _describe(span, scope, status)
                _add_phases(tracer, span, scope)
            span.end()


def _describe(span: trace.Span, scope: Scope, status: int) -> None:
    span.set_attribute("http.request.method", scope["method"])
    span.set_attribute("http.response.status_code", status)
    span.set_attribute("request_id", scope["state"]["request_id"])
    if route := getattr(scope.get("route"), "path", None):  # BentoML's mount has no route
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)
    if status >= 500:
        span.set_status(StatusCode.ERROR)
    facts = facts_of(scope)
    for name in ATTRIBUTES:
        if facts.get(name) is not None:
            span.set_attribute(NAMES.get(name, f"paddleocr_vl.{name}"), facts[name])


def _add_phases(tracer: trace.Tracer, span: trace.Span, scope: Scope) -> None:
    completion: Any = scope["state"].get("completion")
    if completion is None:
        return
    zero = time.time_ns() - time.monotonic_ns()
    context = trace.set_span_in_context(span)
    for name, start, end in completion.phases():
        phase = tracer.start_span(name, context, start_time=zero + int(start * 1e9))
        phase.end(zero + int(end * 1e9))


def _exporter(kind: Exporter) -> SpanExporter:
    if kind == "console":
        return ConsoleSpanExporter(formatter=lambda span: f"{span.to_json(indent=None)}\n")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # only where it is wanted

    return OTLPSpanExporter()  # the SDK's environment variables say where to
