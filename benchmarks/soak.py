#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Run mixed traffic against a server: does it answer every request, leak slots or memory, and respect its cache limits?

    benchmarks/soak.py --minutes 30                    a server of its own, with the embedded checkpoint
    benchmarks/soak.py --url http://127.0.0.1:8001     a running one on this machine

The traffic has all modes and official prompts, streamed and not, images of many sizes and formats, documents, second
questions, structures, several choices, log probabilities, clients that disconnect at any moment, and input that is
broken, too large or meaningless. The exit status is 1 if anything failed. The last line is JSON:

    requests          requests sent
    status_5xx        responses with a 5xx status
    unanswered        requests neither answered in full nor abandoned by this client
    slots_leaked      prompts that the server still has after all clients have gone
    rss_mb_per_1000   growth of the server's processes in MiB per 1000 requests, by least squares over the second half,
                      sampled twice a minute while all clients pause; null if the processes cannot be inspected or the
                      run is too short
    minutes           as given
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
from prometheus_client.parser import text_string_to_metric_families
from tqdm import tqdm

from benchmarks.child_processes import server
from benchmarks.process_memory import ServerMemory
from benchmarks.traffic import MAX_BODY_BYTES, Request, Traffic

CACHE_BYTES = 16 * 2**20  # budget of the own server's image cache: small, so that it fills up soon
PAUSE_INTERVAL = 30.0  # seconds from one pause of all clients to the next
REST_SECONDS = 2.5  # a pause, for the server to release memory
DRAIN_SECONDS = 60  # for the server to notice that its clients have disconnected


@dataclass
class Results:
    """Counts of all requests so far, and samples of the server's memory."""

    done: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    rss: list[tuple[int, float]] = field(default_factory=list)  # requests done, MiB while none was under way


# --- requests --------------------------------------------------------------------------------------------------------


async def ask(client: httpx.AsyncClient, request: Request, results: Results) -> None:
    """Send the request and record its outcome."""
    try:
        async with asyncio.timeout(request.leaves_after):
            await read_answer(client, request, results)
    except TimeoutError:  # this client disconnects
        pass
    except httpx.HTTPError as error:
        results.unanswered += 1
        results.errors[f"{request.kind}: {type(error).__name__}"] += 1
    results.done += 1


async def read_answer(client: httpx.AsyncClient, request: Request, results: Results) -> None:
    method = "POST" if request.content else "GET"
    headers = {"Content-Type": "application/json"}
    async with client.stream(method, request.path, content=request.content, headers=headers) as answer:
        results.statuses[answer.status_code] += 1
        body = (await answer.aread()).decode()
    if answer.status_code not in (*request.expected, 429):
        results.errors[f"{request.kind}: status {answer.status_code}: {body[:200]}"] += 1
    elif request.streamed and answer.status_code == 200:
        if not body.endswith("data: [DONE]\n\n") or not ('"finish_reason":"' in body or '{"error":' in body):
            results.unanswered += 1
        if '{"error":' in body:
            error = body[body.index('{"error":') :][:200]
            results.errors[f"{request.kind}: {error}"] += 1


async def soak(url: str, seconds: float, at_once: int, traffic: Traffic) -> Results:
    """Raises httpx.HTTPError if there is no server."""
    results, memory = Results(), ServerMemory(url)
    end = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=at_once + 1)
    async with httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(600), limits=limits) as client:
        (await client.get("/health")).raise_for_status()

        async def one_after_another(until: float) -> None:
            while time.monotonic() < until:
                await ask(client, traffic.next(), results)

        with tqdm(total=round(seconds), unit="s", bar_format="{l_bar}{bar}| {elapsed}<{remaining}{postfix}") as bar:
            while (began := time.monotonic()) < end:
                async with asyncio.TaskGroup() as group:
                    for _ in range(at_once):
                        group.create_task(one_after_another(min(end, began + PAUSE_INTERVAL)))
                await asyncio.sleep(REST_SECONDS)
                results.rss.append((results.done, memory.mb()))
                bar.set_postfix(requests=results.done, rss_mb=round(results.rss[-1][1]))
                bar.update(min(time.monotonic() - began, bar.total - bar.n))
    return results


# --- figures ---------------------------------------------------------------------------------------------------------


def growth(rss: Sequence[tuple[int, float]]) -> float | None:
    """MiB per 1000 requests, over the second half."""
    late = rss[len(rss) // 2 :]
    done, mb = np.array([sample[0] for sample in late]), np.array([sample[1] for sample in late])
    if len(set(done)) < 2 or not mb.any():
        return None
    return round(float(np.polyfit(done, mb, 1)[0]) * 1000, 3)


def gauge(url: str, *names: str) -> float:
    """The sum of these gauges over all workers."""
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=60).text)
    return sum(sample.value for family in families for sample in family.samples if sample.name in names)


def leaked_slots(url: str) -> int:
    """Prompts that the server still has once it has had time to notice that their clients are gone."""
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
    with ExitStack() as stack:
        url = arguments.url
        if url is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            settings = {"PICTURE_CACHE_BYTES": str(CACHE_BYTES), "MAX_REQUEST_BYTES": str(MAX_BODY_BYTES)}
            settings |= {"BENTOML_HOME": str(folder), "LOG_LEVEL": "warning"}
            ours = server(["-m", "bentoml", "serve"], "/readyz", folder / "log", settings)
            url, _ = stack.enter_context(ours)
        results = asyncio.run(soak(url, arguments.minutes * 60, arguments.at_once, Traffic(arguments.seed)))
        leaked = leaked_slots(url)
        cached = gauge(url, "paddleocr_vl:picture_cache_bytes")
    for error, count in results.errors.most_common(20):
        print(f"  {count} x {error}")
    print("  statuses:", dict(sorted(results.statuses.items())), "image cache:", round(cached / 2**20, 1), "MiB")
    over = arguments.url is None and cached > CACHE_BYTES
    if over:
        print(f"  the image cache holds {cached:.0f} bytes; its budget is {CACHE_BYTES}")
    failed = sum(count for status, count in results.statuses.items() if status >= 500)
    figures = {
        "requests": results.done,
        "status_5xx": failed,
        "unanswered": results.unanswered,
        "slots_leaked": leaked,
        "rss_mb_per_1000": growth(results.rss),
        "minutes": arguments.minutes,
    }
    print(json.dumps(figures))
    sys.exit(1 if failed or results.unanswered or leaked or results.errors or over else 0)


if __name__ == "__main__":
    main()
