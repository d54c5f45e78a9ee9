"""`bench.py compare`: our server beside others, on one checkpoint and in one run, told as ratios.

Peers take turns, round by round, so that a noisy machine hits all alike; who waits costs nothing. In a round all get
the same requests, and no image comes back in another round.
"""

import argparse
import asyncio
import contextlib
import importlib.metadata
import json
import platform
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import httpx
import psutil
from tqdm import tqdm

from api import __version__
from benchmarks.load import (
    Memory,
    ServerError,
    Timing,
    Work,
    closed_loop,
    connect,
    server_processes,
    summary,
    understood,
)
from benchmarks.peers import (
    ROOT,
    ChildError,
    child,
    import_checkpoint,
    our_server,
    outcome,
    read_seconds,
    task,
    told,
    transformers_server,
)

WORK = Work(model="", sizes=[(448, 448)], tokens=64)
REQUESTS = {1: 3, 8: 16}  # at once -> of each peer in each round
QUESTIONS = 3  # images of which a second question is asked, in each round
QUESTION_TOKENS = 4
SEEDS = 1000  # images that a round may take
REFERENCE = "transformers serve"
# What is told of every peer: at once, and where its summary has it.
AGAINST: Mapping[str, tuple[Any, ...]] = {
    "c1_e2e_time": (1, "end_to_end", "p50"),
    "c1_first_token_time": (1, "first_token", "p50"),
    "c8_request_rate": (8, "requests_per_second"),
}
TELLING_FLAGS = ("amx_bf16", "avx512_bf16", "avx2")


@dataclass(frozen=True)
class Ratio:
    """Ours over another's, each measured once a round, both in the same unit."""

    over: str
    ours: Sequence[float]
    other: Sequence[float]

    @property
    def value(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.other)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest ratio of a round."""
        ratios = [ours / other for ours, other in zip(self.ours, self.other, strict=True)]
        return min(ratios), max(ratios)


# --- peers ----------------------------------------------------------------------------------------------------------


class Peer(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def max_at_once(self) -> int: ...

    def run(self, work: Work, count: int, at_once: int, done: Callable[[], object]) -> list[Timing]:
        """`count` requests of `work`. Raises ChildError."""

    def processes(self) -> list[psutil.Process]:
        """Those whose memory is its own."""


@dataclass(frozen=True)
class Served:
    """Behind OpenAI's API, in the dialect that it understands."""

    name: str
    url: str
    model: str
    fields: Mapping[str, Any]
    max_at_once: int = max(REQUESTS)

    def run(self, work: Work, count: int, at_once: int, done: Callable[[], object]) -> list[Timing]:
        spoken = replace(work, model=self.model, fields=self.fields)
        return asyncio.run(closed_loop(self.url, spoken, count, at_once, done))

    def processes(self) -> list[psutil.Process]:
        return server_processes(self.url)


@dataclass(frozen=True)
class Generating:
    """The task `generate`, in process `process`."""

    process: subprocess.Popen[str]
    log: Path
    name: str = "generate"
    max_at_once: int = 1

    def run(self, work: Work, count: int, at_once: int, done: Callable[[], object]) -> list[Timing]:  # noqa: ARG002
        assert self.process.stdin is not None
        timings = []
        for body, _ in zip(work.requests(), range(count), strict=False):
            timing = Timing(time.monotonic())
            with contextlib.suppress(BrokenPipeError):  # what follows tells why it ended
                self.process.stdin.write(json.dumps(body) + "\n")
                self.process.stdin.flush()
            answer = told(self.process, self.log)
            timing.arrivals, timing.ended = answer["arrivals"], answer["ended"]
            timing.tokens = len(timing.arrivals)
            timings.append(timing)
            done()
        return timings

    def processes(self) -> list[psutil.Process]:
        return [psutil.Process(self.process.pid)]


def meet(name: str, url: str, model: str | None = None) -> Served:
    """A running server, warmed up; `model` is the first that it lists unless told. Raises ServerError."""

    async def first() -> Served:
        async with connect(url, 1) as client:
            try:
                chosen = model or (await client.get("/v1/models")).raise_for_status().json()["data"][0]["id"]
            except (httpx.HTTPError, ValueError, LookupError) as error:
                raise ServerError(f"{url}/v1/models lists no model: {error!r}") from error
            spoken = await understood(client, replace(WORK, model=chosen))
            return Served(name, url, chosen, spoken.fields)

    peer = asyncio.run(first())
    checked(peer.name, peer.run(WORK, 1, 1, lambda: None), WORK)
    return peer


def checked(name: str, timings: Sequence[Timing], work: Work) -> Sequence[Timing]:
    """`timings` themselves. Raises ServerError where they cannot be compared with others of the same work."""
    for timing in timings:
        if timing.error is not None:
            raise ServerError(f"{name}: {timing.error}")
        if timing.tokens != work.tokens or not timing.arrivals:
            raise ServerError(f"{name} answered with {timing.tokens} tokens, not {work.tokens}, or without text")
    return timings


# --- measuring ------------------------------------------------------------------------------------------------------


@dataclass
class Found:
    """All that a run measures; times in seconds, rates a second, one value a round."""

    device: str = ""
    dtype: str = ""  # of our server
    levels: dict[tuple[str, int], list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    ready: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    first_question: list[float] = field(default_factory=list)
    second_question: list[float] = field(default_factory=list)
    floors: list[dict[str, float]] = field(default_factory=list)
    vision: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def of(self, name: str, at_once: int, *path: str) -> list[float]:
        """One number of a peer's summaries at one level of load."""
        values = []
        for level in self.levels[name, at_once]:
            value: Any = level
            for key in path:
                value = value[key]
            values.append(value)
        return values


def measure(folder: Path, also: Sequence[tuple[str, str]], rounds: int, scratch: Path) -> Found:
    """Raises ChildError, ServerError."""
    found = Found()
    files = sorted(folder.glob("*.safetensors"))
    home = scratch / "bentoml"
    tag = import_checkpoint(folder, home, scratch / "import.log")
    ours = scratch / "ours.log"
    with contextlib.ExitStack() as running:
        for turn in range(rounds):
            found.read.append(read_seconds(files, scratch / "read.log"))
            with contextlib.ExitStack() as start:
                url, seconds = start.enter_context(our_server(tag, home, ours))
                found.ready.append(seconds)
                if turn == rounds - 1:
                    running.push(start.pop_all())
        health = httpx.get(f"{url}/health").json()
        found.device, found.dtype = health["device"], health["dtype"]
        peers: list[Peer] = [meet("ours", url)]
        log = scratch / "transformers.log"
        url, _ = running.enter_context(transformers_server(folder, found.device, log))
        peers.append(meet(REFERENCE, url, str(folder)))
        log = scratch / "generate.log"
        generating = Generating(running.enter_context(child(task("generate", folder, found.device), log)), log)
        told(generating.process, log)
        checked(generating.name, generating.run(WORK, 1, 1, lambda: None), WORK)
        peers += [generating, *(meet(name, url) for name, url in also)]
        arguments = (folder, found.device, found.dtype)
        a_round = sum(count for peer in peers for at_once, count in REQUESTS.items() if at_once <= peer.max_at_once)
        with tqdm(total=rounds * a_round, unit="request") as bar:
            for turn in range(rounds):
                one_round(found, turn, peers, bar)
                found.floors.append(outcome(scratch / "floor.log", "floor", *arguments))
    found.vision = outcome(scratch / "vision.log", "vision", *arguments, rounds)
    return found


def one_round(found: Found, turn: int, peers: Sequence[Peer], bar: Any) -> None:
    """Each time another one begins."""
    seed = (turn + 1) * SEEDS
    start = turn % len(peers)
    for at_once, count in REQUESTS.items():
        work = replace(WORK, seed=seed)
        seed += count
        for peer in [*peers[start:], *peers[:start]]:
            if at_once > peer.max_at_once:
                continue
            bar.set_description(f"round {turn + 1}, {at_once} at once, {peer.name}")
            with Memory(peer.processes()) as memory:
                started = time.monotonic()
                timings = checked(peer.name, peer.run(work, count, at_once, bar.update), work)
                level = summary(timings, time.monotonic() - started)
            level |= {"peak_rss_mb": memory.peak_rss_mb, "gpu_mb": memory.gpu_mb}
            found.levels[peer.name, at_once].append(level)
    first, second = second_questions(peers[0], seed)
    found.first_question.append(first)
    found.second_question.append(second)


def second_questions(peer: Peer, seed: int) -> tuple[float, float]:
    """Seconds to the first token of a first and a second question about one image; medians over QUESTIONS."""
    waits: dict[str, list[float]] = {"OCR:": [], "Table Recognition:": []}
    for number in range(QUESTIONS):
        for prompt, seen in waits.items():
            work = replace(WORK, tokens=QUESTION_TOKENS, seed=seed + number, prompt=prompt)
            (timing,) = checked(peer.name, peer.run(work, 1, 1, lambda: None), work)
            seen.append(timing.arrivals[0])
    first, second = (statistics.median(seen) for seen in waits.values())
    return first, second


# --- telling --------------------------------------------------------------------------------------------------------


def ratios(found: Found) -> dict[str, Ratio]:
    """The yardstick's nine; those called time, gap and floor are better when lower, those called rate when higher."""
    step = found.of("ours", 1, "inter_token", "p50")
    floor = floor_seconds(found.floors)
    return {
        **against(found, REFERENCE),
        "c8_longest_gap": Ratio("own step, unloaded", found.of("ours", 8, "inter_token", "max"), step),
        "second_question_time": Ratio("first question", found.second_question, found.first_question),
        "decode_over_floor": Ratio("weights at best rate", step, [floor] * len(step)),
        "ready_time": Ratio("torch, reading weights", found.ready, found.read),
        **{name: Ratio("transformers", rates["ours"], rates["transformers"]) for name, rates in found.vision.items()},
    }


def against(found: Found, name: str) -> dict[str, Ratio]:
    """Ours over one peer's, at the levels of load that this took."""
    return {
        key: Ratio(name, found.of("ours", at_once, *path), found.of(name, at_once, *path))
        for key, (at_once, *path) in AGAINST.items()
        if (name, at_once) in found.levels
    }


def floor_seconds(floors: Sequence[Mapping[str, float]]) -> float:
    """The least time of a decode step: its weights read at the best rate of the run."""
    return floors[0]["bytes"] / max(floor["rate"] for floor in floors)


def report(found: Found) -> str:
    others = dict.fromkeys(name for name, _ in found.levels if name not in ("ours", REFERENCE))
    named = [*ratios(found).items(), *(pair for name in others for pair in against(found, name).items())]
    return "\n\n".join(
        (
            machine(found.device),
            f"Medians of {len(found.ready)} rounds; ours in {found.dtype}. Seconds and MiB.\n{absolute(found)}",
            f"Ours over others, and the least and greatest of a round.\n{table(HEAD, map(row, named))}",
        )
    )


HEAD = ("", "over", "ours", "other", "ratio", "min..max")


def row(named: tuple[str, Ratio]) -> list[str]:
    name, ratio = named
    sides = [middle(side) for side in (ratio.ours, ratio.other)]
    low, high = ratio.spread
    return [name, ratio.over, *sides, f"{ratio.value:.3g}", f"{low:.3g}..{high:.3g}"]


def middle(values: Sequence[float]) -> str:
    """The median with four digits, in no powers of ten."""
    if not values:
        return "-"
    value = statistics.median(values)
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def absolute(found: Found) -> str:
    columns = {
        "requests/s": ("requests_per_second",),
        "first token": ("first_token", "p50"),
        "inter-token": ("inter_token", "p50"),
        "end to end": ("end_to_end", "p50"),
        "longest gap": ("inter_token", "max"),
        "peak RSS": ("peak_rss_mb",),
        "GPU": ("gpu_mb",),
    }
    rows = []
    for name, at_once in found.levels:
        seen = [[value for value in found.of(name, at_once, *path) if value is not None] for path in columns.values()]
        rows.append([name, str(at_once), *map(middle, seen)])
    return table(["", "at once", *columns], rows)


def table(head: Sequence[str], rows: Any) -> str:
    """Columns as wide as their widest cell, the first to the left."""
    cells = [list(head), *rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in cells
    )


def machine(device: str) -> str:
    information = Path("/proc/cpuinfo")
    told = information.read_text() if information.exists() else ""
    lines = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
    names = {key.strip(): value.split() for key, value in lines.items()}
    processor = " ".join(names.get("model name", [])) or platform.processor() or platform.machine()
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count()
    flags = [flag for flag in TELLING_FLAGS if flag in names.get("flags", [])]
    if device != "cpu" and shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        device += " " + subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "bentoml")]
    return "\n".join(
        (
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, on {device}",
            f"{processor}, {cores} cores, {' '.join(flags) or 'none of ' + ', '.join(TELLING_FLAGS)}",
            f"this server {__version__}, Python {platform.python_version()}, {', '.join(versions)}",
        )
    )


def checkpoint(arguments: argparse.Namespace) -> Path:
    if arguments.model is not None:
        return Path(arguments.model).resolve()
    from benchmarks.random_checkpoint import SIZES, random_checkpoint  # brings torch: seconds

    if arguments.random not in SIZES:
        raise SystemExit(f"--random is {arguments.random!r}. Not one of {', '.join(SIZES)}.")
    return random_checkpoint(ROOT / "build" / f"random-{arguments.random}", arguments.random)


def compare(arguments: argparse.Namespace) -> None:
    """The command; its last line is the ratios as one JSON object."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that children are ended, as by Ctrl-C
    folder = checkpoint(arguments)
    with tempfile.TemporaryDirectory(prefix="compare-") as scratch:
        try:
            found = measure(folder, arguments.also, arguments.rounds, Path(scratch))
        except (ChildError, ServerError) as error:
            raise SystemExit(f"compare: {error}") from error
        except KeyboardInterrupt:
            raise SystemExit(130) from None
    print(report(found))
    print(json.dumps({name: round(ratio.value, 4) for name, ratio in ratios(found).items()}))
