"""Measurements of `bench.py compare`: peers take turns at the same requests, round by round."""

import asyncio
import contextlib
import json
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import httpx
import psutil
from tqdm import tqdm

from benchmarks.children import (
    child,
    import_checkpoint,
    next_line,
    our_server,
    outcome,
    read_seconds,
    task,
    transformers_server,
)
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

WORK = Work(model="", sizes=[(448, 448)], tokens=64)


REQUESTS = {1: 3, 8: 16}  # requests at once -> requests of each peer in each round


QUESTIONS = 3  # images with a second question, in each round


QUESTION_TOKENS = 4


SEEDS = 1000  # images that a round may take


REFERENCE = "transformers serve"


class Peer(Protocol):
    """A program under comparison."""

    @property
    def name(self) -> str: ...

    @property
    def max_at_once(self) -> int: ...

    def run(self, work: Work, count: int, at_once: int, done: Callable[[], object]) -> list[Timing]:
        """`count` requests of `work`. Raises ChildError."""

    def processes(self) -> list[psutil.Process]:
        """Processes whose memory is the peer's."""


@dataclass(frozen=True)
class Served:
    """A peer with OpenAI's API, in the dialect that it understands."""

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
    """A peer that is the task `generate`, in process `process`."""

    process: subprocess.Popen[str]
    log: Path
    name: str = "generate"
    max_at_once: int = 1

    def run(self, work: Work, count: int, at_once: int, done: Callable[[], object]) -> list[Timing]:  # noqa: ARG002
        assert self.process.stdin is not None
        timings = []
        for body, _ in zip(work.requests(), range(count), strict=False):
            timing = Timing(time.monotonic())
            with contextlib.suppress(BrokenPipeError):  # the next read reports why it ended
                self.process.stdin.write(json.dumps(body) + "\n")
                self.process.stdin.flush()
            answer = next_line(self.process, self.log)
            timing.arrivals, timing.ended = answer["arrivals"], answer["ended"]
            timing.tokens = len(timing.arrivals)
            timings.append(timing)
            done()
        return timings

    def processes(self) -> list[psutil.Process]:
        return [psutil.Process(self.process.pid)]


def meet(name: str, url: str, model: str | None = None) -> Served:
    """A running server, warmed up; `model` defaults to the first that it lists. Raises ServerError."""

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
    """`timings` themselves. Raises ServerError if they are not comparable with others of the same work."""
    for timing in timings:
        if timing.error is not None:
            raise ServerError(f"{name}: {timing.error}")
        if timing.tokens != work.tokens or not timing.arrivals:
            raise ServerError(f"{name} answered with {timing.tokens} tokens, not {work.tokens}, or without text")
    return timings


@dataclass
class Found:
    """Everything that a run measures; times in seconds, rates a second, one value a round."""

    device: str = ""
    dtype: str = ""  # our server's
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
        next_line(generating.process, log)
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
    """One round of all peers; another one begins each time."""
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
