#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Measures a running server, this one or any that speaks OpenAI's API.

    scripts/bench.py serve                                    448x448 pictures, 64 tokens, 1 and 8 requests at once
    scripts/bench.py serve --url http://host:8000 --model M   another server
    scripts/bench.py serve --rate 2 --requests 100            arrivals at random, two a second

Every request has a picture of its own, so nothing is answered from a cache; `ignore_eos` fixes the length of answers
where the server knows it. The last line is JSON.
"""

import argparse
import asyncio
import json
import statistics
import threading
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
from tqdm import tqdm

from scripts.load import Timing, Work, closed_loop, open_loop

SAMPLING_SECONDS = 0.2  # of the server's memory
LOCAL = ("localhost", "127.0.0.1", "::1")


def size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height or width)


class Memory:
    """The peak resident memory of the server's processes, where it runs on this machine."""

    def __init__(self, url: str) -> None:
        self.peak_mb: float | None = None
        self._processes = server_processes(url)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while self._processes:
            used = 0
            for process in self._processes:
                try:
                    used += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak_mb = round(max(self.peak_mb or 0.0, used / 2**20), 1)
            if self._ended.wait(SAMPLING_SECONDS):
                return


def server_processes(url: str) -> list[psutil.Process]:
    """Who listens at the address, with their children; none where it is another machine's or not ours to see."""
    address = urlsplit(url)
    if address.hostname not in LOCAL:
        return []
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            ports = [one.laddr.port for one in process.net_connections() if one.status == psutil.CONN_LISTEN]
            if (address.port or 80) in ports:
                found |= {one.pid: one for one in [process, *process.children(recursive=True)]}
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return list(found.values())


def percentile(values: Sequence[float], percent: int) -> float | None:
    if len(values) < 2:
        return round(values[0], 4) if values else None
    return round(statistics.quantiles(values, n=100, method="inclusive")[percent - 1], 4)


def summary(timings: Sequence[Timing], seconds: float) -> dict[str, Any]:
    """Rates over `seconds` of wall time, latencies in seconds."""
    good = [timing for timing in timings if timing.error is None]
    first = [timing.arrivals[0] for timing in good if timing.arrivals]
    gaps = [gap for timing in good for gap in timing.gaps]
    whole = [timing.ended for timing in good]
    return {
        "requests": len(timings),
        "errors": len(timings) - len(good),
        "requests_per_second": round(len(good) / seconds, 4),
        "tokens_per_second": round(sum(timing.tokens for timing in good) / seconds, 2),
        "first_token": {"p50": percentile(first, 50), "p95": percentile(first, 95)},
        "inter_token": {
            "p50": percentile(gaps, 50),
            "p99": percentile(gaps, 99),
            "max": round(max(gaps, default=0), 4),
        },
        "end_to_end": {"p50": percentile(whole, 50), "p95": percentile(whole, 95)},
    }


def measure(arguments: argparse.Namespace, work: Work, at_once: int) -> dict[str, Any]:
    """One level of load."""
    count = arguments.requests or max(8, 4 * at_once)
    name = f"{arguments.rate} a second" if arguments.rate else f"{at_once} at once"
    with Memory(arguments.url) as memory, tqdm(total=count, desc=name, unit="request") as bar:
        started = time.monotonic()
        if arguments.rate:
            timings = asyncio.run(open_loop(arguments.url, work, count, arguments.rate, bar.update))
        else:
            timings = asyncio.run(closed_loop(arguments.url, work, count, at_once, bar.update))
        seconds = time.monotonic() - started
    for error in sorted({timing.error for timing in timings if timing.error is not None})[:3]:
        print("  error:", error)
    level = {"rate": arguments.rate} if arguments.rate else {"at_once": at_once}
    return level | summary(timings, seconds) | {"peak_rss_mb": memory.peak_mb}


def serve(arguments: argparse.Namespace) -> None:
    model = arguments.model or httpx.get(f"{arguments.url}/v1/models").json()["data"][0]["id"]
    work = Work(model, arguments.pictures, arguments.tokens)
    warm = asyncio.run(closed_loop(arguments.url, Work(model, arguments.pictures, 4, seed=2**30), 2, 1, lambda: None))
    if all(timing.error is not None for timing in warm):
        raise SystemExit(f"{arguments.url} does not answer: {warm[0].error}")
    levels = []
    for at_once in [0] if arguments.rate else arguments.at_once:
        level = measure(arguments, work, at_once)
        levels.append(level)
        print(json.dumps(level))
    print(json.dumps({"url": arguments.url, "model": model, "tokens": arguments.tokens, "levels": levels}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    load = commands.add_parser("serve", help="load on a running server")
    load.set_defaults(run=serve)
    load.add_argument("--url", default="http://127.0.0.1:8001", help="default: %(default)s")
    load.add_argument("--model", help="default: the first that the server lists")
    load.add_argument("--pictures", type=size, nargs="+", default=[(448, 448)], metavar="WxH", help="default: 448x448")
    load.add_argument("--tokens", type=int, default=64, help="of every answer; default: %(default)s")
    load.add_argument("--at-once", type=int, nargs="+", default=[1, 8], metavar="N", help="default: 1 8")
    load.add_argument("--requests", type=int, help="of each level; default: 4 for each at once, at least 8")
    load.add_argument("--rate", type=float, help="requests a second that arrive at random, instead of --at-once")
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
