"""Prometheus metrics of the server: under vLLM's names where it has one, under our own otherwise.

Labels come from closed sets: no request can add a series. With several workers, BentoML gives all of them one folder by
PROMETHEUS_MULTIPROC_DIR (before Python starts, which is when prometheus_client reads it), and each answers for all.
"""

import os
from collections.abc import Iterable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import Message, Receive, Scope, Send

from api.errors import DECODER_ENDED, RATE_LIMITED
from api.metrics_files import drop_dead_workers, reserve_files
from api.middleware import HttpMiddleware
from engine.engine import Engine
from engine.stats import Report, Totals
from modes.registry import ANSWER_MODES

# vLLM's buckets, so that its dashboards fit. They reach far enough for CPUs, where a page takes minutes.
FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560),
)
NEXT_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
REQUEST = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)

End = Literal["stop", "length", "abort", "error", "deadline"]
ENDS: tuple[End, ...] = ("stop", "length", "abort", "error", "deadline")

READING = {"/v1/chat/completions", "/v1/ocr", "/layout-parsing"}  # routes that read images
REASONS = {
    400: "invalid",
    422: "invalid",  # PaddleX's status for it
    401: "unauthorized",
    404: "unknown_model",
    413: "too_large",
    429: "queue_full",
    503: "unavailable",
    504: "deadline",
}
"""Reasons for refusing to read, by the status of the answer, unless `state.rejection` names one."""

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


class Metrics:
    """The metrics of one app, in a registry of its own."""

    def __init__(self, model: str) -> None:
        """`model`: the checkpoint's name, which all metrics of the model carry."""
        if (folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR")) is not None:
            reserve_files(folder)
        self._registry = CollectorRegistry()
        self._model = model
        self._running = self._gauge("vllm:num_requests_running", "Prompts and answers that have a slot.")
        self._waiting = self._gauge("vllm:num_requests_waiting", "Admitted prompts that wait.")
        self._waiting_bytes = self._gauge(
            "paddleocr_vl:waiting_picture_bytes", "Bytes of the images of waiting prompts."
        )
        self._image_cache = self._gauge("paddleocr_vl:picture_cache_bytes", "Bytes of cached image features.")
        # The fullest of several workers: a sum would exceed 1.
        self._cache = self._gauge("vllm:kv_cache_usage_perc", "Share of the slots that are taken, 0 to 1.", "livemax")
        self._totals = {
            "prompt_tokens": self._counter("vllm:prompt_tokens", "Tokens of prompts, image tokens included."),
            "generation_tokens": self._counter("vllm:generation_tokens", "Tokens that the model wrote."),
            "repetition_cuts": self._counter("paddleocr_vl:repetition_cuts", "Answers ended for repeating themselves."),
            "images": self._counter("paddleocr_vl:picture_cache_queries", "Images of prompts."),
            "image_hits": self._counter("paddleocr_vl:picture_cache_hits", "Images whose features were cached."),
            "image_pixels": self._counter("paddleocr_vl:picture_pixels", "Pixels that the vision tower processed."),
            "vision_seconds": self._counter("paddleocr_vl:vision_seconds", "Seconds spent in the vision tower."),
            "pages": self._counter(
                "paddleocr_vl:pages",
                "Pages that networks looked at, each network counted: layout, turning, flattening.",
            ),
            "page_seconds": self._counter("paddleocr_vl:page_seconds", "Seconds spent in these networks."),
        }
        self._next_token = self._histogram(
            "vllm:inter_token_latency_seconds", "Seconds between two tokens.", NEXT_TOKEN
        )
        self._queued = self._histogram(
            "vllm:request_queue_time_seconds", "Seconds a prompt waited for a slot.", REQUEST
        )
        self._first_token = self._histogram(
            "vllm:time_to_first_token_seconds",
            "Seconds from a request's arrival to its answer's first token.",
            FIRST_TOKEN,
        )
        self._whole = self._histogram(
            "vllm:e2e_request_latency_seconds", "Seconds from a request's arrival to its answer's end.", REQUEST
        )
        self._ended = self._counters("vllm:request_success", "Answers by the way they ended.", "finished_reason", ENDS)
        self._asked = self._counters("paddleocr_vl:requests", "Requests to read, by mode.", "mode", ANSWER_MODES)
        self._rejected = self._counters(
            "paddleocr_vl:rejections",
            "Requests to read that were refused.",
            "reason",
            [*dict.fromkeys(REASONS.values()), RATE_LIMITED, DECODER_ENDED],
        )
        self._http = Counter(
            "http_requests", "HTTP requests.", ("handler", "method", "status"), registry=self._registry
        )
        self._seen = Totals()

    def _gauge(self, name: str, text: str, mode: Literal["livesum", "livemax"] = "livesum") -> Gauge:
        gauge = Gauge(name, text, ("model_name",), registry=self._registry, multiprocess_mode=mode)
        return gauge.labels(self._model)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ("model_name",), registry=self._registry).labels(self._model)

    def _counters(self, name: str, text: str, label: str, values: Iterable[str]) -> dict[str, Counter]:
        """A counter for each value of a label, all there from the start: rates need a zero to rise from."""
        counter = Counter(name, text, ("model_name", label), registry=self._registry)
        return {value: counter.labels(self._model, value) for value in values}

    def _histogram(self, name: str, text: str, bounds: tuple[float, ...]) -> Histogram:
        histogram = Histogram(name, text, ("model_name",), registry=self._registry, buckets=bounds)
        return histogram.labels(self._model)

    def watch(self, engine: Engine) -> None:
        """Count what the engine does from now on."""
        self._seen = engine.stats().totals
        engine.observer = self._observe

    def _observe(self, report: Report) -> None:
        stats = report.stats
        self._running.set(stats.running)
        self._waiting.set(stats.waiting)
        self._waiting_bytes.set(stats.waiting_bytes)
        self._image_cache.set(stats.image_cache_bytes)
        self._cache.set(stats.cache_usage)
        for name, counter in self._totals.items():
            more = getattr(stats.totals, name) - getattr(self._seen, name)
            if more > 0:
                counter.inc(more)
        self._seen = stats.totals
        for seconds in report.queued:
            self._queued.observe(seconds)
        for seconds in report.gaps:
            self._next_token.observe(seconds)

    def asked(self, mode: str) -> None:
        """A request to read was admitted."""
        self._asked[mode].inc()

    def began(self, seconds: float) -> None:
        """An answer has its first token, `seconds` after its request came."""
        self._first_token.observe(seconds)

    def ended(self, end: End, seconds: float) -> None:
        """An answer is over, `seconds` after its request came; only complete ones count as latencies."""
        self._ended[end].inc()
        if end in ("stop", "length"):
            self._whole.observe(seconds)

    def answered(self, scope: Scope, status: int) -> None:
        """An HTTP request gets this status. Unknown paths and requests refused before routing share one handler."""
        handler = getattr(scope.get("route"), "path", None) or "none"
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._http.labels(handler, method, f"{status // 100}xx").inc()
        if scope["path"] in READING and status in REASONS:
            self._rejected[scope["state"].get("rejection", REASONS[status])].inc()

    def text(self) -> bytes:
        """Prometheus' text format, over all workers."""
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None:
            return generate_latest(self._registry)
        drop_dead_workers(folder)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


class RequestMetrics(HttpMiddleware):
    """Middleware that counts each request by the status of its answer."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        def count(status: int) -> None:
            nonlocal begun
            begun = True
            serving = getattr(scope["app"].state, "serving", None)  # the OpenAPI document needs none
            if serving is not None:
                serving.metrics.answered(scope, status)

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                count(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, counted)
        except Exception:
            if not begun:
                count(500)  # an outer layer answers
            raise
