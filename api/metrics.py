"""What the server does, as Prometheus metrics: under vLLM's names where it has one, under our own otherwise.

Labels come from closed sets: whatever clients send, no series is added. With several workers, BentoML gives all of
them one folder by PROMETHEUS_MULTIPROC_DIR (before Python starts, which is when prometheus_client looks), and each
answers for all.
"""

import contextlib
import os
from collections.abc import Iterable
from typing import Literal

import psutil
from modes.registry import ANSWER_MODES
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from starlette.types import Message, Receive, Scope, Send

from api.errors import DECODER_ENDED
from api.middleware import HttpMiddleware
from engine.engine import Engine
from engine.stats import Report, Totals

# vLLM's bounds, so that its dashboards fit. They reach far enough for CPUs, where a page takes minutes.
FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560),
)
NEXT_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
REQUEST = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)

End = Literal["stop", "length", "abort", "error", "deadline"]
ENDS: tuple[End, ...] = ("stop", "length", "abort", "error", "deadline")

CHAT = "/v1/chat/completions"
REASONS = {
    400: "invalid",
    401: "unauthorized",
    404: "unknown_model",
    413: "too_large",
    429: "queue_full",
    503: "unavailable",
    504: "deadline",
}
"""Why a chat request was turned away, by the status that it was told, unless `state.rejection` says it."""
RATE_LIMITED = "rate_limited"  # 429 as well

FILES = ("counter", "histogram", "gauge_livesum", "gauge_livemax")  # of a process, in prometheus_client's words
FILE_BYTES = 2**18  # of each: several times what all its series take
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


class Metrics:
    """Of one app: each has a registry of its own."""

    def __init__(self, model: str) -> None:
        """`model`: the checkpoint's name, which all metrics of the model carry."""
        if (folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR")) is not None:
            reserve(folder)
        self._registry = CollectorRegistry()
        self._model = model
        self._running = self._gauge("vllm:num_requests_running", "Prompts and answers that have a slot.")
        self._waiting = self._gauge("vllm:num_requests_waiting", "Prompts that are let in and wait.")
        self._waiting_bytes = self._gauge("paddleocr_vl:waiting_picture_bytes", "Of the images that they wait with.")
        self._kept = self._gauge("paddleocr_vl:picture_cache_bytes", "Of features of images that are kept.")
        # Of several workers the fullest: a sum would exceed 1.
        self._cache = self._gauge("vllm:kv_cache_usage_perc", "Share of the slots that are taken, 0 to 1.", "livemax")
        self._totals = {
            "prompt_tokens": self._counter("vllm:prompt_tokens", "Tokens of prompts, images' included."),
            "generation_tokens": self._counter("vllm:generation_tokens", "Tokens that the model wrote."),
            "repetition_cuts": self._counter("paddleocr_vl:repetition_cuts", "Answers ended for repeating themselves."),
            "images": self._counter("paddleocr_vl:picture_cache_queries", "Images of prompts."),
            "image_hits": self._counter("paddleocr_vl:picture_cache_hits", "Images that were seen before."),
            "image_pixels": self._counter("paddleocr_vl:picture_pixels", "Pixels that the vision tower saw."),
            "vision_seconds": self._counter("paddleocr_vl:vision_seconds", "Seconds that the vision tower took."),
        }
        self._next_token = self._histogram(
            "vllm:inter_token_latency_seconds", "Between two tokens of an answer.", NEXT_TOKEN
        )
        self._queued = self._histogram("vllm:request_queue_time_seconds", "That a prompt waited for a slot.", REQUEST)
        self._first_token = self._histogram(
            "vllm:time_to_first_token_seconds", "From a request's arrival to its answer's first token.", FIRST_TOKEN
        )
        self._whole = self._histogram(
            "vllm:e2e_request_latency_seconds", "From a request's arrival to its answer's end.", REQUEST
        )
        self._ended = self._counters("vllm:request_success", "Answers by the way they ended.", "finished_reason", ENDS)
        self._asked = self._counters("paddleocr_vl:requests", "Chat requests by mode.", "mode", ANSWER_MODES)
        self._rejected = self._counters(
            "paddleocr_vl:rejections",
            "Chat requests that were turned away.",
            "reason",
            [*REASONS.values(), RATE_LIMITED, DECODER_ENDED],
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
        """One for each value of a label, all there from the beginning: rates need a zero to rise from."""
        counter = Counter(name, text, ("model_name", label), registry=self._registry)
        return {value: counter.labels(self._model, value) for value in values}

    def _histogram(self, name: str, text: str, bounds: tuple[float, ...]) -> Histogram:
        histogram = Histogram(name, text, ("model_name",), registry=self._registry, buckets=bounds)
        return histogram.labels(self._model)

    def watch(self, engine: Engine) -> None:
        """Count what the engine does from now on."""
        self._seen = engine.stats().totals
        engine.observer = self._take

    def _take(self, report: Report) -> None:
        stats = report.stats
        self._running.set(stats.running)
        self._waiting.set(stats.waiting)
        self._waiting_bytes.set(stats.waiting_bytes)
        self._kept.set(stats.image_cache_bytes)
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
        """A chat request was let in."""
        self._asked[mode].inc()

    def began(self, seconds: float) -> None:
        """An answer has its first token, so long after its request came."""
        self._first_token.observe(seconds)

    def ended(self, end: End, seconds: float) -> None:
        """An answer is over, so long after its request came; only whole ones are latencies."""
        self._ended[end].inc()
        if end in ("stop", "length"):
            self._whole.observe(seconds)

    def answered(self, scope: Scope, status: int) -> None:
        """An HTTP request gets this status. Paths that no route knows, and what is turned away at the door, are one."""
        handler = getattr(scope.get("route"), "path", None) or "none"
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._http.labels(handler, method, f"{status // 100}xx").inc()
        if scope["path"] == CHAT and status in REASONS:
            self._rejected[scope["state"].get("rejection", REASONS[status])].inc()

    def text(self) -> bytes:
        """Prometheus' text format; of several workers, all together."""
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None:
            return generate_latest(self._registry)
        forget_the_dead(folder)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def reserve(folder: str) -> None:
    """Take the disk space of this process's metrics beforehand. Raises OSError where there is none.

    prometheus_client maps sparse files into memory; the first write to a page of one that a full disk cannot take is
    SIGBUS, which ends the process.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    for kind in FILES:
        with open(os.path.join(folder, f"{kind}_{os.getpid()}.db"), "ab") as file:
            os.posix_fallocate(file.fileno(), 0, FILE_BYTES)


def forget_the_dead(folder: str) -> None:
    """Drop how workers stood that were killed; what they counted stays."""
    for name in os.listdir(folder):
        kind, _, pid = name.removesuffix(".db").rpartition("_")
        if kind.startswith("gauge_live") and not works_beside(int(pid)):
            with contextlib.suppress(FileNotFoundError):  # another worker was asked at the same time
                mark_process_dead(int(pid), folder)  # type: ignore[no-untyped-call]


def works_beside(pid: int) -> bool:
    """Whether a process is a worker of this server; the number may be another's by now."""
    try:
        process = psutil.Process(pid)
        return process.ppid() == os.getppid() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class RequestMetrics(HttpMiddleware):
    """Around every request: counts what it is answered."""

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
                count(500)  # which is answered further out
            raise
