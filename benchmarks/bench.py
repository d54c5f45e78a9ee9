#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Benchmark a running server, this server and others, or the engine alone.

    benchmarks/bench.py serve                                    448x448 images, 64 tokens, 1 and 8 requests at once
    benchmarks/bench.py serve --url http://host:8000 --model M   another server
    benchmarks/bench.py serve --rate 2 --requests 100            arrivals at random, two a second
    benchmarks/bench.py serve --at-once 1 2 4 8 --plot out.png   throughput and latency as an image
    benchmarks/bench.py compare                                  this server, `transformers serve` and plain `generate`,
                                                                 on random weights of the real size
    benchmarks/bench.py compare --model DIR --also vLLM=http://localhost:8000
    benchmarks/bench.py llama --gguf F16=f16.gguf --mmproj mmproj.gguf
                                                                 this server and llama.cpp's
    benchmarks/bench.py engine --weights auto native             the engine's parts alone, and the machine's limits

Every request has an image of its own, so nothing is answered from a cache. Answers have a fixed length if the server
has an option to ignore the end token. The last line is JSON.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

from benchmarks.compare import checkpoint, compare
from benchmarks.llama import llama
from benchmarks.load import ServerError, Work, closed_loop, connect, negotiate_dialect, open_loop, summary
from benchmarks.process_memory import PeakMemory, server_processes


def size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height or width)


def measure(arguments: argparse.Namespace, work: Work, at_once: int) -> dict[str, Any]:
    """Figures of one level of load."""
    count = arguments.requests or max(8, 4 * at_once)
    name = f"{arguments.rate} a second" if arguments.rate else f"{at_once} at once"
    with PeakMemory(server_processes(arguments.url)) as memory, tqdm(total=count, desc=name, unit="request") as bar:
        started = time.monotonic()
        if arguments.rate:
            timings = asyncio.run(open_loop(arguments.url, work, count, arguments.rate, bar.update))
        else:
            timings = asyncio.run(closed_loop(arguments.url, work, count, at_once, bar.update))
        seconds = time.monotonic() - started
    for error in sorted({timing.error for timing in timings if timing.error is not None})[:3]:
        print("  error:", error)
    level = {"rate": arguments.rate} if arguments.rate else {"at_once": at_once}
    return level | summary(timings, seconds) | {"peak_rss_mb": memory.peak_rss_mb, "gpu_mb": memory.gpu_mb}


def plot(levels: Sequence[Mapping[str, Any]], file: Path) -> None:
    """A PNG of throughput and latency against requests at once."""
    import matplotlib  # takes half a second, and only plots need it
    from matplotlib.figure import Figure

    matplotlib.use("Agg")
    figure = Figure(figsize=(9, 4), layout="constrained")
    throughput, latency = figure.subplots(1, 2)
    at_once = [level["at_once"] for level in levels]
    throughput.plot(at_once, [level["requests_per_second"] for level in levels], marker="o")
    throughput.set_ylabel("requests a second")
    for name, key in (("end to end", "end_to_end"), ("first token", "first_token")):
        latency.plot(at_once, [level[key]["p50"] for level in levels], marker="o", label=name)
    latency.set_ylabel("seconds, median")
    latency.legend()
    for axes in (throughput, latency):
        axes.set_xlabel("requests at once")
        axes.set_xticks(at_once)
        axes.set_ylim(bottom=0)
    figure.savefig(file, format="png")


async def warm_up(url: str, work: Work) -> Work:
    """`work` in a dialect that the server accepts, after a request to warm it up. Raises ServerError."""
    async with connect(url, 1) as client:
        return await negotiate_dialect(client, work)


def serve(arguments: argparse.Namespace) -> None:
    model = arguments.model or httpx.get(f"{arguments.url}/v1/models").json()["data"][0]["id"]
    work = Work(model, arguments.images, arguments.tokens)
    try:
        work = replace(work, fields=asyncio.run(warm_up(arguments.url, replace(work, tokens=4, seed=2**30))).fields)
    except ServerError as error:
        raise SystemExit(str(error)) from error
    levels: list[dict[str, Any]] = []
    for at_once in [0] if arguments.rate else arguments.at_once:
        asked = sum(level["requests"] for level in levels)  # levels share no image
        level = measure(arguments, replace(work, seed=asked), at_once)
        levels.append(level)
        print(json.dumps(level))
    if arguments.plot:
        plot(levels, arguments.plot)
    print(json.dumps({"url": arguments.url, "model": model, "tokens": arguments.tokens, "levels": levels}))


def engine(arguments: argparse.Namespace) -> None:
    from benchmarks.engine_bench import report  # imports torch, which takes seconds

    report(checkpoint(arguments), arguments.dtype, arguments.weights)


def named(text: str) -> tuple[str, str]:
    name, separator, what = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} has no NAME=")
    return name, what.rstrip("/")


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    load = commands.add_parser("serve", help="load on a running server")
    load.set_defaults(run=serve)
    load.add_argument("--url", default="http://127.0.0.1:8001", help="default: %(default)s")
    load.add_argument("--model", help="default: the first that the server lists")
    load.add_argument("--images", type=size, nargs="+", default=[(448, 448)], metavar="WxH", help="default: 448x448")
    load.add_argument("--tokens", type=int, default=64, help="of every answer; default: %(default)s")
    load.add_argument("--requests", type=int, help="of each level; default: 4 times --at-once, at least 8")
    load.add_argument("--at-once", type=int, nargs="+", default=[1, 8], metavar="N", help="default: 1 8")
    exclusive = load.add_mutually_exclusive_group()
    exclusive.add_argument("--rate", type=float, help="requests a second at random times, instead of --at-once")
    exclusive.add_argument("--plot", type=Path, metavar="FILE", help="a PNG of throughput and latency by --at-once")
    comparison = commands.add_parser("compare", help="this server and others, on one checkpoint in one run")
    comparison.set_defaults(run=compare)
    other = commands.add_parser("llama", help="this server and llama.cpp's, on one checkpoint in one run")
    other.set_defaults(run=llama)
    other.add_argument("--gguf", type=named, nargs="+", required=True, metavar="TYPE=FILE", help="decoders: F16, Q8_0")
    other.add_argument("--mmproj", type=Path, required=True, metavar="FILE", help="the vision tower")
    other.add_argument("--llama-server", default="llama-server", metavar="PROGRAM", help="default: that on the PATH")
    alone = commands.add_parser("engine", help="the engine's parts alone, and the machine's limits")
    alone.set_defaults(run=engine)
    alone.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16", "float16"])
    for command in (other, alone):
        command.add_argument(
            "--weights", nargs="+", default=["auto"], choices=["auto", "native", "fp16", "int8", "int4"]
        )
    for command in (comparison, other, alone):
        weights = command.add_mutually_exclusive_group()
        weights.add_argument("--random", default="0.9b", metavar="SIZE", help="random weights; default: %(default)s")
        weights.add_argument("--model", metavar="FOLDER", help="a checkpoint instead")
    comparison.add_argument("--also", type=named, nargs="+", default=[], metavar="NAME=URL", help="running servers")
    for command in (comparison, other):
        command.add_argument("--rounds", type=positive, default=3, metavar="N", help="default: %(default)s")
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
