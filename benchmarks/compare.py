"""`bench.py compare`: our server and others on one checkpoint in one run, reported as ratios.

Peers take turns within each round, so that noise on the machine affects all of them alike; a waiting peer uses no CPU.
All peers get the same requests in a round, and no image is used in two rounds.
"""

import argparse
import contextlib
import json
import signal
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

from benchmarks.baselines import read_seconds
from benchmarks.child_processes import ROOT, ChildError, child, import_checkpoint, next_message, our_server
from benchmarks.compare_report import report
from benchmarks.load import ServerError, Work, summary
from benchmarks.peers import GeneratePeer, Peer, connect_peer, run_task, task, transformers_server, validated
from benchmarks.process_memory import PeakMemory
from benchmarks.ratios import OURS, REFERENCE, Level, Measurements, all_ratios

WORK = Work(model="", sizes=[(448, 448)], tokens=64)
REQUESTS = {Level(1): 3, Level(8): 16}  # requests to each peer in each round
AT_ONCE = max(level.at_once for level in REQUESTS)
QUESTIONS = 3  # images in each round that get a second question
QUESTION_TOKENS = 4
SEEDS = 1000  # seeds reserved for the images of a round


def measure(folder: Path, also: Sequence[tuple[str, str]], rounds: int, scratch: Path) -> Measurements:
    """Raises ChildError, ServerError."""
    measured = Measurements()
    files = sorted(folder.glob("*.safetensors"))
    home = scratch / "bentoml"
    tag = import_checkpoint(folder, home, scratch / "import.log")
    log = scratch / "ours.log"
    with contextlib.ExitStack() as running:
        for turn in range(rounds):
            measured.read_weights.append(read_seconds(files, scratch / "read.log"))
            with contextlib.ExitStack() as start:
                url, seconds = start.enter_context(our_server(tag, home, log))
                measured.ready.append(seconds)
                if turn == rounds - 1:
                    running.push(start.pop_all())
        health = httpx.get(f"{url}/health").json()
        measured.device, measured.dtype = health["device"], health["dtype"]
        peers = start_peers(running, url, folder, measured.device, scratch)
        peers += [connect_peer(name, url, WORK, AT_ONCE) for name, url in also]
        arguments = (folder, measured.device, measured.dtype)
        per_round = sum(
            count for peer in peers for level, count in REQUESTS.items() if level.at_once <= peer.max_at_once
        )
        with tqdm(total=rounds * per_round, unit="request") as bar:
            for turn in range(rounds):
                run_round(measured, turn, peers, bar)
                measured.floors.append(run_task(scratch / "floor.log", "floor", *arguments))
    measured.vision = run_task(scratch / "vision.log", "vision", *arguments, rounds)
    return measured


def start_peers(running: contextlib.ExitStack, our_url: str, folder: Path, device: str, scratch: Path) -> list[Peer]:
    """Our server, `transformers serve` and `generate`, warmed up. Raises ChildError, ServerError."""
    ours = connect_peer(OURS, our_url, WORK, AT_ONCE)
    log = scratch / "transformers.log"
    url, _ = running.enter_context(transformers_server(folder, device, log))
    reference = connect_peer(REFERENCE, url, replace(WORK, model=str(folder)), AT_ONCE)
    log = scratch / "generate.log"
    generating = GeneratePeer(running.enter_context(child(task("generate", folder, device), log)), log)
    next_message(generating.process, log)
    validated(generating.name, generating.run(WORK, 1, 1, lambda: None), WORK)
    return [ours, reference, generating]


def run_round(measured: Measurements, turn: int, peers: Sequence[Peer], bar: Any) -> None:
    """Run every level of load on every peer, then second questions on ours."""
    run_levels(measured, turn, peers, REQUESTS, bar)
    first, second = ask_twice(peers[0], (turn + 1) * SEEDS + sum(REQUESTS.values()))
    measured.first_question.append(first)
    measured.second_question.append(second)


def run_levels(
    measured: Measurements, turn: int, peers: Sequence[Peer], requests: Mapping[Level, int], bar: Any
) -> None:
    """Run every level of load on every peer, with so many requests. Each round starts with another peer."""
    seed = (turn + 1) * SEEDS
    start = turn % len(peers)
    for level, count in requests.items():
        work = replace(WORK, seed=seed, stream=level.stream)
        seed += count
        for peer in [*peers[start:], *peers[:start]]:
            if level.at_once > peer.max_at_once:
                continue
            bar.set_description(f"round {turn + 1}, {level} at once, {peer.name}")
            with PeakMemory(peer.processes()) as memory:
                started = time.monotonic()
                timings = validated(peer.name, peer.run(work, count, level.at_once, bar.update), work)
                measures = summary(timings, time.monotonic() - started)
            measures |= {"peak_rss_mb": memory.peak_rss_mb, "gpu_mb": memory.gpu_mb}
            measured.levels[peer.name, level].append(measures)


def ask_twice(peer: Peer, seed: int) -> tuple[float, float]:
    """Seconds to the first token of a first and of a second question about one image; medians over QUESTIONS."""
    waits: dict[str, list[float]] = {"OCR:": [], "Table Recognition:": []}
    for number in range(QUESTIONS):
        for prompt, seconds in waits.items():
            work = replace(WORK, tokens=QUESTION_TOKENS, seed=seed + number, prompt=prompt)
            (timing,) = validated(peer.name, peer.run(work, 1, 1, lambda: None), work)
            seconds.append(timing.arrivals[0])
    first, second = (statistics.median(seconds) for seconds in waits.values())
    return first, second


def checkpoint(arguments: argparse.Namespace) -> Path:
    """The folder of --model, or of the random checkpoint of size --random, which is made if it does not exist."""
    if arguments.model is not None:
        return Path(arguments.model).resolve()
    from benchmarks.random_checkpoint import SIZES, counting_checkpoint  # imports torch, which takes seconds

    if arguments.random not in SIZES:
        raise SystemExit(f"--random is {arguments.random!r}. Not one of {', '.join(SIZES)}.")
    return counting_checkpoint(ROOT / "build" / f"counting-{arguments.random}", arguments.random)


def compare(arguments: argparse.Namespace) -> None:
    """The command; its last line is the ratios as one JSON object."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM ends the children, as Ctrl-C does
    folder = checkpoint(arguments)
    with tempfile.TemporaryDirectory(prefix="compare-") as scratch:
        try:
            measured = measure(folder, arguments.also, arguments.rounds, Path(scratch))
        except (ChildError, ServerError) as error:
            raise SystemExit(f"compare: {error}") from error
        except KeyboardInterrupt:
            raise SystemExit(130) from None
    print(report(measured))
    print(json.dumps({name: round(ratio.value, 4) for name, ratio in all_ratios(measured).items()}))
