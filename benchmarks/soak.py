#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Mixed traffic on a server for a time: does it answer everybody, leak slots or memory, and stay within its caches?

    benchmarks/soak.py --minutes 30                    a server of its own, with the embedded checkpoint
    benchmarks/soak.py --url http://127.0.0.1:8001     a running one on this machine

All modes and official prompts, streamed and whole, images of many sizes and formats, documents, second questions,
structures, several answers, log probabilities, clients that leave at any moment, and input that is broken, too large
or nonsense. Ends with 1 where something was wrong. The last line is JSON: `requests`, `status_5xx`, `unanswered`
(neither answered in full nor given up by this client), `slots_leaked` (prompts that the server still has when all
clients are gone), `rss_mb_per_1000` (MiB that the server's processes grow by in 1000 requests, by least squares over
the second half, looked at while all clients pause, twice a minute; null where they cannot be seen or the time is too
short) and `minutes`.
"""

import argparse
import asyncio
import base64
import io
import json
import random
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from tqdm import tqdm

from benchmarks.load import server_processes
from benchmarks.peers import ROOT, server
from images.decoding import FORMATS
from modes.choose import OFFICIAL

CHAT = "/v1/chat/completions"
SAMPLES = [ROOT / "tests" / "data" / f"test_{name}.png" for name in ("document", "form", "invoice", "receipt", "table")]
WORDS = (
    *("Read this", "Extract the table", "Extract the receipt as JSON", "Extract the invoice", "List the form fields"),
    *("Give me the formula", "Describe the chart", "Read the seal", "Bounding boxes of all lines", ""),
)
SCHEMA = {
    "type": "object",
    "properties": {"total": {"type": "number"}, "date": {"type": "string", "maxLength": 12}},
    "required": ["total", "date"],
}
STRUCTURES: Sequence[dict[str, Any]] = (
    {"response_format": {"type": "json_schema", "json_schema": {"name": "own", "schema": SCHEMA}}, "grounded": False},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "own", "schema": SCHEMA}}, "mode": "raw"},
    {"guided_regex": "[A-Z]{3,8}", "mode": "raw"},
    {"structured_outputs": {"choice": ["yes", "no"]}, "mode": "raw"},
)
SEEN = 8  # images that second questions may be about
MAX_PIXELS = 900_000  # of an image
BODY_BYTES = 2 * 2**20  # that our own server takes
CACHE_BYTES = 16 * 2**20  # of its image cache: small, so that it is full soon
PAUSE_SECONDS = 30.0  # from one pause of all clients to the next
REST_SECONDS = 2.5  # of a pause, for the server to hand back what it has freed
DRAIN_SECONDS = 60  # for the server to notice that its clients have left


@dataclass
class Request:
    kind: str
    content: bytes
    path: str = CHAT
    expected: Sequence[int] = (200,)
    streamed: bool = False
    leaves_after: float | None = None  # seconds


@dataclass
class Seen:
    """What came of all requests so far."""

    done: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    rss: list[tuple[int, float]] = field(default_factory=list)  # requests done, MiB while nothing was under way


# --- what is asked ---------------------------------------------------------------------------------------------------


class Traffic:
    """The same requests for the same seed, in a different order where the server is faster or slower."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._pages = [Image.open(sample).convert("RGB") for sample in SAMPLES]
        self._seen: deque[str] = deque(maxlen=SEEN)
        self._kinds: Sequence[tuple[int, Callable[[], Request]]] = (
            (30, self._reading),
            (8, self._second_question),
            (6, self._document),
            (8, self._structured),
            (6, self._several),
            (4, self._text),
            (16, self._leaving),
            (18, self._bad),
            (4, self._aside),
        )

    def next(self) -> Request:
        weights, kinds = zip(*self._kinds, strict=True)
        return self._rng.choices(kinds, weights)[0]()

    def _image(self) -> Image.Image:
        """A piece of a sample in any size, mostly small; hardly ever the same twice."""
        page = self._rng.choice(self._pages)
        scale = self._rng.uniform(0.1, 1.6) ** 2
        left, top = self._rng.randrange(page.width // 2), self._rng.randrange(page.height // 2)
        piece = page.crop((left, top, page.width, page.height))
        scale = min(scale, (MAX_PIXELS / (piece.width * piece.height)) ** 0.5)
        return piece.resize((max(3, round(piece.width * scale)), max(3, round(piece.height * scale))))

    def _part(self, image: Image.Image) -> dict[str, Any]:
        kind = self._rng.choice(FORMATS)
        address = uri(encoded(image, kind), f"image/{kind.lower()}")
        self._seen.append(address)
        return {"type": "image_url", "image_url": {"url": address}}

    def _chat(self, kind: str, prompt: str, *parts: dict[str, Any], **fields: Any) -> Request:
        text = [{"type": "text", "text": prompt}] if prompt else []
        streamed = self._rng.random() < 0.5
        body = {
            "messages": [{"role": "user", "content": [*parts, *text]}],
            "max_tokens": self._rng.randint(1, 60),
            "stream": streamed,
        }
        return Request(kind, json.dumps(body | fields).encode(), streamed=streamed)

    def _prompt(self) -> str:
        return self._rng.choice([*OFFICIAL, *WORDS])

    def _reading(self) -> Request:
        return self._chat("reading", self._prompt(), self._part(self._image()))

    def _second_question(self) -> Request:
        if not self._seen:
            return self._reading()
        part = {"type": "image_url", "image_url": {"url": self._rng.choice(self._seen)}}
        return self._chat("second question", self._prompt(), part)

    def _document(self) -> Request:
        kind = self._rng.choice(("PDF", "TIFF"))
        first, *others = (self._image() for _ in range(self._rng.randint(1, 2)))
        data = encoded(first, kind, save_all=True, append_images=others)
        if kind == "TIFF":
            part = {"type": "image_url", "image_url": {"url": uri(data, "image/tiff")}}
        else:
            part = {"type": "file", "file": {"filename": "it.pdf", "file_data": uri(data, "application/pdf")}}
        return self._chat("document", self._prompt(), part, max_tokens=30)

    def _structured(self) -> Request:
        structure = self._rng.choice(STRUCTURES)
        return self._chat("structured", "Read this", self._part(self._image()), **structure)

    def _several(self) -> Request:
        fields = {"n": 2, "temperature": 0.8, "logprobs": True, "top_logprobs": 3, "ocr": {"words": True}}
        return self._chat("several", "OCR:", self._part(self._image()), seed=self._rng.randrange(100), **fields)

    def _text(self) -> Request:
        return self._chat("text", "on and on " * self._rng.randint(1, 300), mode="raw")

    def _leaving(self) -> Request:
        request = self._rng.choice((self._reading, self._document, self._several, self._structured))()
        request.kind, request.leaves_after = "leaving", self._rng.expovariate(3)
        return request

    def _bad(self) -> Request:
        image = encoded(self._image(), "PNG")
        cut = uri(image[: self._rng.randrange(len(image) // 2)], "image/png")
        fine = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2, "mode": "raw"}
        broken = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": cut}}]}]}
        kind, content, expected = self._rng.choice(
            (
                ("invalid JSON", json.dumps(fine).encode()[: self._rng.randint(1, 40)], (400,)),
                ("broken image", json.dumps(broken).encode(), (400,)),
                ("too large", b"[" + b" " * (BODY_BYTES + 2**20), (413, 400)),
                ("unknown field", json.dumps(fine | {f"unknown_{self._rng.randrange(10**9)}": 1}).encode(), (200,)),
                ("wrong type", json.dumps(fine | {"temperature": "warm"}).encode(), (400,)),
                ("unknown model", json.dumps(fine | {"model": f"gpt-{self._rng.randrange(10**9)}"}).encode(), (404,)),
                ("private address", json.dumps(broken).replace(cut, "http://127.0.0.1:9/x.png").encode(), (400,)),
            )
        )
        return Request(kind, content, expected=expected)

    def _aside(self) -> Request:
        content = json.dumps({"prompt": "on and on"}).encode()
        return self._rng.choice(
            (
                Request("tokenize", content, "/tokenize"),
                Request("metrics", b"", "/metrics"),
                Request("health", b"", "/health"),
                Request("unknown path", b"", f"/unknown/{self._rng.randrange(10**9)}", (404,)),
            )
        )


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def uri(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


# --- what comes back -------------------------------------------------------------------------------------------------


async def ask(client: httpx.AsyncClient, request: Request, seen: Seen) -> None:
    try:
        async with asyncio.timeout(request.leaves_after):
            await answered(client, request, seen)
    except TimeoutError:  # our own leaving
        pass
    except httpx.HTTPError as error:
        seen.unanswered += 1
        seen.errors[f"{request.kind}: {type(error).__name__}"] += 1
    seen.done += 1


async def answered(client: httpx.AsyncClient, request: Request, seen: Seen) -> None:
    method = "POST" if request.content else "GET"
    headers = {"Content-Type": "application/json"}
    async with client.stream(method, request.path, content=request.content, headers=headers) as answer:
        seen.statuses[answer.status_code] += 1
        body = (await answer.aread()).decode()
    if answer.status_code not in (*request.expected, 429):
        seen.errors[f"{request.kind}: status {answer.status_code}: {body[:200]}"] += 1
    elif request.streamed and answer.status_code == 200:
        if not body.endswith("data: [DONE]\n\n") or not ('"finish_reason":"' in body or '{"error":' in body):
            seen.unanswered += 1
        if '{"error":' in body:
            said = body[body.index('{"error":') :][:200]
            seen.errors[f"{request.kind}: {said}"] += 1


async def soak(url: str, seconds: float, at_once: int, traffic: Traffic, seen: Seen, memory: "Memory") -> None:
    """Raises httpx.HTTPError where there is no server."""
    end = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=at_once + 1)
    async with httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(600), limits=limits) as client:
        (await client.get("/health")).raise_for_status()

        async def one_after_another(until: float) -> None:
            while time.monotonic() < until:
                await ask(client, traffic.next(), seen)

        with tqdm(total=round(seconds), unit="s", bar_format="{l_bar}{bar}| {elapsed}<{remaining}{postfix}") as bar:
            while (began := time.monotonic()) < end:
                async with asyncio.TaskGroup() as group:
                    for _ in range(at_once):
                        group.create_task(one_after_another(min(end, began + PAUSE_SECONDS)))
                await asyncio.sleep(REST_SECONDS)
                seen.rss.append((seen.done, memory.mb()))
                bar.set_postfix(requests=seen.done, rss_mb=round(seen.rss[-1][1]))
                bar.update(min(time.monotonic() - began, bar.total - bar.n))


class Memory:
    """Resident memory of the server: whoever listens, its parent, and all that they start."""

    def __init__(self, url: str) -> None:
        found = {process.pid: process for process in server_processes(url)}
        self._roots = [process for process in found.values() if process.ppid() not in found]

    def mb(self) -> float:
        """MiB; 0 where it is another machine's."""
        used = 0
        for root in self._roots:
            for process in [root, *root.children(recursive=True)]:
                try:
                    used += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
        return used / 2**20


def growth(rss: Sequence[tuple[int, float]]) -> float | None:
    """MiB in 1000 requests, over the second half."""
    late = rss[len(rss) // 2 :]
    done, mb = np.array([sample[0] for sample in late]), np.array([sample[1] for sample in late])
    if len(set(done)) < 2 or not mb.any():
        return None
    return round(float(np.polyfit(done, mb, 1)[0]) * 1000, 3)


def gauge(url: str, *names: str) -> float:
    """The sum of these, of all workers."""
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=60).text)
    return sum(sample.value for family in families for sample in family.samples if sample.name in names)


def left(url: str) -> int:
    """Prompts that the server has once it has had time to notice that nobody waits for them."""
    end = time.monotonic() + DRAIN_SECONDS
    names = ("vllm:num_requests_running", "vllm:num_requests_waiting")
    while (under_way := gauge(url, *names)) and time.monotonic() < end:
        time.sleep(0.1)
    return round(under_way)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="default: %(default)s")
    parser.add_argument("--url", help="default: a server of its own")
    parser.add_argument("--at-once", type=int, default=6, metavar="N", help="requests; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    arguments = parser.parse_args()
    seen = Seen()
    with ExitStack() as stack:
        url = arguments.url
        if url is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            settings = {"PICTURE_CACHE_BYTES": str(CACHE_BYTES), "MAX_REQUEST_BYTES": str(BODY_BYTES)}
            settings |= {"BENTOML_HOME": str(folder), "LOG_LEVEL": "warning"}
            ours = server(["-m", "bentoml", "serve"], "/readyz", folder / "log", settings)
            url, _ = stack.enter_context(ours)
        traffic = Traffic(arguments.seed)
        asyncio.run(soak(url, arguments.minutes * 60, arguments.at_once, traffic, seen, Memory(url)))
        leaked = left(url)
        kept = gauge(url, "paddleocr_vl:picture_cache_bytes")
    for error, count in seen.errors.most_common(20):
        print(f"  {count} x {error}")
    print("  statuses:", dict(sorted(seen.statuses.items())), "image cache:", round(kept / 2**20, 1), "MiB")
    over = arguments.url is None and kept > CACHE_BYTES
    if over:
        print(f"  the image cache holds {kept:.0f} bytes; {CACHE_BYTES} are its budget")
    failed = sum(count for status, count in seen.statuses.items() if status >= 500)
    result = {
        "requests": seen.done,
        "status_5xx": failed,
        "unanswered": seen.unanswered,
        "slots_leaked": leaked,
        "rss_mb_per_1000": growth(seen.rss),
        "minutes": arguments.minutes,
    }
    print(json.dumps(result))
    sys.exit(1 if failed or seen.unanswered or leaked or seen.errors or over else 0)


if __name__ == "__main__":
    main()
