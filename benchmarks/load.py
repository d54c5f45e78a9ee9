"""Load on an OpenAI-compatible server: requests with fresh images, each of them timed."""

import asyncio
import base64
import io
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import numpy as np
from PIL import Image

REQUEST_TIMEOUT = 3600.0  # seconds

OURS = {"ignore_eos": True, "repetition_detection": False}
# Fields that make an answer use all its tokens. Each server knows one of these sets and may refuse the others.
DIALECTS: Sequence[Mapping[str, Any]] = (
    OURS,
    {"ignore_eos": True},  # vLLM, llama-server
    {"generation_config": json.dumps({"eos_token_id": -1, "pad_token_id": 0})},  # transformers serve
    {},
)


class ServerError(RuntimeError):
    """A server that does not answer; the message names it and the reason."""


@dataclass(frozen=True)
class Work:
    """The content of a series of requests."""

    model: str
    sizes: Sequence[tuple[int, int]]  # width and height of images, cycled through
    tokens: int  # in every answer: the end token does not end it
    prompt: str = "OCR:"
    seed: int = 0
    stream: bool = True
    fields: Mapping[str, Any] = field(default_factory=lambda: OURS)  # one of DIALECTS

    def requests(self) -> Iterator[dict[str, Any]]:
        """Endless request bodies. No image occurs twice, so no server can answer from a cache."""
        for number in range(self.seed, self.seed + 2**31):
            yield self.body(self.sizes[number % len(self.sizes)], number)

    def body(self, size: tuple[int, int], seed: int) -> dict[str, Any]:
        image = {"type": "image_url", "image_url": {"url": noise(*size, seed)}}
        streaming = {"stream": True, "stream_options": {"include_usage": True}} if self.stream else {}
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": [image, {"type": "text", "text": self.prompt}]}],
            "max_tokens": self.tokens,
            "temperature": 0,
            **streaming,
            **self.fields,
        }


@dataclass
class Timing:
    """Times of one request, in seconds from its start."""

    started: float  # on the monotonic clock
    arrivals: list[float] = field(default_factory=list)  # times of the pieces of text
    ended: float = 0.0
    tokens: int = 0
    error: str | None = None

    @property
    def gaps(self) -> list[float]:
        return [after - before for before, after in zip(self.arrivals, self.arrivals[1:], strict=False)]

    @property
    def token_gaps(self) -> list[float]:
        """Seconds between tokens: as measured, or the average if a piece of text carries several tokens."""
        if len(self.arrivals) < 2 or len(self.arrivals) >= self.tokens:
            return self.gaps
        return [(self.ended - self.arrivals[0]) / (self.tokens - 1)] * (self.tokens - 1)


def noise(width: int, height: int, seed: int) -> str:
    """A data URI of an image that can be neither compressed nor cached."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


# --- requests -------------------------------------------------------------------------------------------------------


async def ask(client: httpx.AsyncClient, body: dict[str, Any]) -> Timing:
    """One request; an error is recorded in the timing."""
    timing = Timing(time.monotonic())
    try:
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                timing.error = f"status {answer.status_code}: {(await answer.aread())[:200]!r}"
                return timing
            if body.get("stream"):
                async for line in answer.aiter_lines():
                    record_line(timing, line)
            else:
                timing.tokens = json.loads(await answer.aread())["usage"]["completion_tokens"]
                timing.arrivals.append(time.monotonic() - timing.started)
    except (httpx.HTTPError, ValueError) as error:  # some servers write errors into the stream that are not JSON
        timing.error = f"{type(error).__name__}: {error}"
    finally:
        timing.ended = time.monotonic() - timing.started
    timing.tokens = timing.tokens or len(timing.arrivals)  # a stream without usage
    return timing


def record_line(timing: Timing, line: str) -> None:
    """Record one line of server-sent events in the timing."""
    if not line.startswith("data:") or line.endswith("[DONE]"):
        return
    event = json.loads(line.removeprefix("data:"))
    if "error" in event:
        timing.error = str(event["error"])
    if event.get("usage"):
        timing.tokens = event["usage"]["completion_tokens"]
    if any(choice["delta"].get("content") for choice in event.get("choices", [])):
        timing.arrivals.append(time.monotonic() - timing.started)


async def negotiate_dialect(client: httpx.AsyncClient, work: Work) -> Work:
    """`work` in the first dialect that the server accepts, after one request. Raises ServerError."""
    for fields in DIALECTS:
        candidate = replace(work, fields=fields)
        timing = await ask(client, next(candidate.requests()))
        if timing.error is None:
            return candidate
    raise ServerError(f"{client.base_url} does not answer: {timing.error}")


async def closed_loop(url: str, work: Work, count: int, at_once: int, done: Callable[[], object]) -> list[Timing]:
    """`count` requests, always `at_once` of them under way; `done` is called after each."""
    bodies = work.requests()
    timings: list[Timing] = []
    left = count

    async def worker(client: httpx.AsyncClient) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            timings.append(await ask(client, next(bodies)))
            done()

    async with connect(url, at_once) as client, asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker(client))
    return timings


async def open_loop(url: str, work: Work, count: int, rate: float, done: Callable[[], object]) -> list[Timing]:
    """`count` requests at random times, `rate` a second on average, however slow the server is."""
    rng = random.Random(work.seed)

    async def later(client: httpx.AsyncClient, body: dict[str, Any], delay: float) -> Timing:
        await asyncio.sleep(delay)
        timing = await ask(client, body)
        done()
        return timing

    delays, elapsed = [], 0.0
    for _ in range(count):
        delays.append(elapsed)
        elapsed += rng.expovariate(rate)
    async with connect(url, count) as client:
        return await asyncio.gather(
            *(later(client, body, delay) for body, delay in zip(work.requests(), delays, strict=False))
        )


def connect(url: str, at_once: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    return httpx.AsyncClient(base_url=url, timeout=REQUEST_TIMEOUT, limits=limits)


# --- figures --------------------------------------------------------------------------------------------------------


def percentile(values: Sequence[float], percent: int) -> float | None:
    """A single value is every percentile; None for no values."""
    if len(values) < 2:
        return round(values[0], 6) if values else None
    return round(statistics.quantiles(values, n=100, method="inclusive")[percent - 1], 6)


def summary(timings: Sequence[Timing], seconds: float) -> dict[str, Any]:
    """Rates over `seconds` of wall time, latencies in seconds."""
    good = [timing for timing in timings if timing.error is None]
    first = [timing.arrivals[0] for timing in good if timing.arrivals]
    between = [gap for timing in good for gap in timing.token_gaps]
    whole = [timing.ended for timing in good]
    return {
        "requests": len(timings),
        "errors": len(timings) - len(good),
        "requests_per_second": round(len(good) / seconds, 4),
        "tokens_per_second": round(sum(timing.tokens for timing in good) / seconds, 2),
        "first_token": {"p50": percentile(first, 50), "p95": percentile(first, 95)},
        "inter_token": {
            "p50": percentile(between, 50),
            "p99": percentile(between, 99),
            "max": round(max((gap for timing in good for gap in timing.gaps), default=0), 6),
        },
        "end_to_end": {"p50": percentile(whole, 50), "p95": percentile(whole, 95)},
    }
