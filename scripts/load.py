"""Load on an OpenAI-compatible server: streamed requests with fresh pictures, each one timed."""

import asyncio
import base64
import io
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from PIL import Image

LONGEST_REQUEST = 3600.0  # seconds


@dataclass(frozen=True)
class Work:
    """What each request asks."""

    model: str
    sizes: Sequence[tuple[int, int]]  # width, height of pictures, taken in turn
    tokens: int  # of every answer: the end token does not end it
    prompt: str = "OCR:"
    seed: int = 0

    def requests(self) -> Iterator[dict[str, Any]]:
        """Bodies without end, no picture twice: no server can answer from what it kept."""
        for number in range(self.seed, self.seed + 2**31):
            yield self.body(self.sizes[number % len(self.sizes)], number)

    def body(self, size: tuple[int, int], seed: int) -> dict[str, Any]:
        picture = {"type": "image_url", "image_url": {"url": noise(*size, seed)}}
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": [picture, {"type": "text", "text": self.prompt}]}],
            "max_tokens": self.tokens,
            "temperature": 0,
            "ignore_eos": True,
            "repetition_detection": False,
            "stream": True,
            "stream_options": {"include_usage": True},
        }


@dataclass
class Timing:
    """One request, in seconds from its start."""

    started: float  # on the monotonic clock
    arrivals: list[float] = field(default_factory=list)  # of the pieces of text
    ended: float = 0.0
    tokens: int = 0
    error: str | None = None

    @property
    def gaps(self) -> list[float]:
        return [after - before for before, after in zip(self.arrivals, self.arrivals[1:], strict=False)]


def noise(width: int, height: int, seed: int) -> str:
    """A picture that nothing can compress or cache, as a data URI."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


async def ask(client: httpx.AsyncClient, body: dict[str, Any]) -> Timing:
    """One streamed request; what goes wrong is in the timing."""
    timing = Timing(time.monotonic())
    try:
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                timing.error = f"status {answer.status_code}: {(await answer.aread())[:200]!r}"
                return timing
            async for line in answer.aiter_lines():
                take(timing, line)
    except httpx.HTTPError as error:
        timing.error = f"{type(error).__name__}: {error}"
    finally:
        timing.ended = time.monotonic() - timing.started
    return timing


def take(timing: Timing, line: str) -> None:
    """One line of server-sent events."""
    if not line.startswith("data:") or line.endswith("[DONE]"):
        return
    event = json.loads(line.removeprefix("data:"))
    if "error" in event:
        timing.error = str(event["error"])
    if event.get("usage"):
        timing.tokens = event["usage"]["completion_tokens"]
    if any(choice["delta"].get("content") for choice in event.get("choices", [])):
        timing.arrivals.append(time.monotonic() - timing.started)


async def closed_loop(url: str, work: Work, count: int, at_once: int, done: Callable[[], None]) -> list[Timing]:
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


async def open_loop(url: str, work: Work, count: int, rate: float, done: Callable[[], None]) -> list[Timing]:
    """`count` requests that arrive at random, `rate` a second on average, whatever the server does."""
    rng = random.Random(work.seed)

    async def later(client: httpx.AsyncClient, body: dict[str, Any], delay: float) -> Timing:
        await asyncio.sleep(delay)
        timing = await ask(client, body)
        done()
        return timing

    delays, at = [], 0.0
    for _ in range(count):
        delays.append(at)
        at += rng.expovariate(rate)
    async with connect(url, count) as client:
        return await asyncio.gather(
            *(later(client, body, delay) for body, delay in zip(work.requests(), delays, strict=False))
        )


def connect(url: str, at_once: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    return httpx.AsyncClient(base_url=url, timeout=LONGEST_REQUEST, limits=limits)
