#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Soak test: mixed traffic on a server for a time. Is every request answered? Do slots or memory leak, do caches grow?

    benchmarks/soak.py --minutes 30                    its own server, with the embedded checkpoint
    benchmarks/soak.py --url http://127.0.0.1:8001     a running server on this machine

All modes and official prompts, streamed and whole, images of many sizes and formats, documents, second questions,
structures, several answers, log probabilities, clients that leave at any moment, and input that is broken, too large
or nonsense. Exits with 1 if anything was wrong. The last line is JSON: `requests`, `status_5xx`, `unanswered` (neither
answered in full nor given up by this client), `slots_leaked` (prompts that the server still has when all clients are
gone), `rss_mb_per_1000` (growth of the server's processes in MiB per 1000 requests, by least squares over the second
half, sampled while all clients pause, twice a minute; null if they are not visible or the time is too short) and
`minutes`.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil
from prometheus_client.parser import text_string_to_metric_families
from tqdm import tqdm

from benchmarks.children import server
from benchmarks.load import server_processes
from benchmarks.traffic import BODY_BYTES, Request, Traffic

CACHE_BYTES = 16 * 2**20  # its image cache: small, so that it is soon full
PAUSE_SECONDS = 30.0  # between pauses of all clients
REST_SECONDS = 2.5  # pause for the server to hand back freed memory
DRAIN_SECONDS = 60  # time for the server to notice that its clients have left


@dataclass
class Seen:
    """Outcomes of all requests so far."""

    done: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    rss: list[tuple[int, float]] = field(default_factory=list)  # requests done, MiB while none was running


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
    """Raises httpx.HTTPError if there is no server."""
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
    """Resident memory of the server: the listening processes, their parent, and all that they start."""

    def __init__(self, url: str) -> None:
        found = {process.pid: process for process in server_processes(url)}
        self._roots = [process for process in found.values() if process.ppid() not in found]

    def mb(self) -> float:
        """MiB; 0 for a server on another machine."""
        used = 0
        for root in self._roots:
            for process in [root, *root.children(recursive=True)]:
                try:
                    used += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
        return used / 2**20


def growth(rss: Sequence[tuple[int, float]]) -> float | None:
    """Growth over the second half, in MiB per 1000 requests."""
    late = rss[len(rss) // 2 :]
    done, mb = np.array([sample[0] for sample in late]), np.array([sample[1] for sample in late])
    if len(set(done)) < 2 or not mb.any():
        return None
    return round(float(np.polyfit(done, mb, 1)[0]) * 1000, 3)


def gauge(url: str, *names: str) -> float:
    """Sum of these metrics over all workers."""
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=60).text)
    return sum(sample.value for family in families for sample in family.samples if sample.name in names)


def left(url: str) -> int:
    """Prompts that the server still has after it had time to notice that their clients left."""
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
        cached = gauge(url, "paddleocr_vl:picture_cache_bytes")
    for error, count in seen.errors.most_common(20):
        print(f"  {count} x {error}")
    print("  statuses:", dict(sorted(seen.statuses.items())), "image cache:", round(cached / 2**20, 1), "MiB")
    over = arguments.url is None and cached > CACHE_BYTES
    if over:
        print(f"  the image cache holds {cached:.0f} bytes; {CACHE_BYTES} are its budget")
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
