"""`bench.py llama`: our server with each of some ways to store weights, and llama.cpp's server with each of some files.

All run on one checkpoint in one run, by turns, as in compare.py. Its files are made by llama.cpp's own converter; for
the checkpoint with random weights by `python -m benchmarks.random_gguf`.
"""

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import psutil
from tqdm import tqdm

from benchmarks.child_processes import ChildError, import_checkpoint, our_server, server, tail
from benchmarks.compare import WORK, checkpoint, run_levels
from benchmarks.compare_report import COLUMNS, RATIO_HEAD, level_table, machine, ratio_row, table
from benchmarks.load import ServerError
from benchmarks.peers import Peer, connect_peer
from benchmarks.ratios import Level, Measurements, Ratio

REQUESTS = {Level(1): 2, Level(8): 8, Level(8, stream=False): 8}  # requests to each peer in each round
SLOTS = max(level.at_once for level in REQUESTS)
CONTEXT = 2048  # tokens of each slot
SETTLING_SECONDS = 8  # before a server that is ready ends: ours keeps its weights then, for the next start
OF_STREAMS = ("first token", "inter-token", "longest gap")  # columns
ALIKE = {"F16": "auto", "Q8_0": "int8"}  # a type of their weights -> WEIGHTS of ours with as many bits


def options(gguf: Path, mmproj: Path) -> list[str]:
    """The arguments of `llama-server`: all physical cores, as many slots as ours, no cache, as every image is new."""
    threads = psutil.cpu_count(logical=False) or 1
    return [
        *("--model", str(gguf), "--mmproj", str(mmproj), "--threads", str(threads), "--flash-attn", "on"),
        *("--parallel", str(SLOTS), "--ctx-size", str(SLOTS * CONTEXT), "--kv-unified"),
        *("--no-cache-prompt", "--cache-ram", "0", "--no-ui"),
    ]


def measure(arguments: argparse.Namespace, program: str, scratch: Path) -> tuple[Measurements, dict[str, list[float]]]:
    """What each peer did in each round, and the seconds that it took to be ready. Raises ChildError, ServerError."""
    measured = Measurements()
    ready: dict[str, list[float]] = {}
    home = scratch / "bentoml"
    tag = import_checkpoint(checkpoint(arguments), home, scratch / "import.log")
    cache = {"XDG_CACHE_HOME": str(scratch / "cache")}  # so that the first start measures and the others do not
    settings = {"SLOTS": str(SLOTS), "MAX_MODEL_LEN": str(CONTEXT), **cache}
    starts: dict[str, Callable[[Path], AbstractContextManager[tuple[str, float]]]] = {
        f"ours {weights}": partial(our_server, tag, home, settings=settings | {"WEIGHTS": weights})
        for weights in arguments.weights
    }
    for name, gguf in arguments.gguf:
        command = options(Path(gguf), arguments.mmproj)
        starts[f"llama-server {name}"] = partial(server, command, "/health", program=program)
    with ExitStack() as running:
        peers: list[Peer] = []
        for name, start in starts.items():
            ready[name] = []
            for last in (*[False] * (arguments.rounds - 1), True):
                with ExitStack() as started:
                    url, seconds = started.enter_context(start(scratch / f"{name}.log"))
                    ready[name].append(seconds)
                    time.sleep(SETTLING_SECONDS)
                    if last:
                        running.push(started.pop_all())
            peers.append(connect_peer(name, url, WORK, SLOTS))
        with tqdm(total=arguments.rounds * len(peers) * sum(REQUESTS.values()), unit="request") as bar:
            for turn in range(arguments.rounds):
                try:
                    run_levels(measured, turn, peers, REQUESTS, bar)
                except ServerError as error:
                    log = scratch / f"{str(error).partition(':')[0]}.log"
                    print(f"Round {turn + 1} broke off: {error}\n{tail(log) if log.exists() else ''}\n")
                    if turn == 0:
                        raise
                    for levels in measured.levels.values():
                        del levels[turn:]
                    break
    return measured, ready


def ratios(measured: Measurements, names: Sequence[str]) -> dict[str, Ratio]:
    """Ours over theirs with as many bits, where both ran."""
    found = {}
    for theirs, weights in ALIKE.items():
        ours, other = f"ours {weights}", f"llama-server {theirs}"
        for level in REQUESTS if {ours, other} <= set(names) else ():
            for name, path in COLUMNS.items():
                if name == "GPU" or (name in OF_STREAMS and not level.stream):  # this one compares CPUs
                    continue
                sides = [measured.values(side, level, *path) for side in (ours, other)]
                found[f"{level} at once, {name}, {weights}"] = Ratio(other, *sides)
    return found


def llama(arguments: argparse.Namespace) -> None:
    """The command; its last line is the ratios as one JSON object."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    program = shutil.which(arguments.llama_server)
    if program is None:
        raise SystemExit(f"llama: {arguments.llama_server} is not there; --llama-server names it")
    with tempfile.TemporaryDirectory(prefix="llama-") as scratch:
        try:
            measured, ready = measure(arguments, program, Path(scratch))
        except (ChildError, ServerError) as error:
            raise SystemExit(f"llama: {error}") from error
        except KeyboardInterrupt:
            raise SystemExit(130) from None
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    print(machine("cpu"))
    print((version.stdout + version.stderr).strip())
    for name, gguf in arguments.gguf:
        print(f"llama-server {name}:", *options(Path(gguf), arguments.mmproj))
    rounds = min(map(len, measured.levels.values()))
    print(f"\nMedians of {rounds} rounds. Seconds and MiB.\n{level_table(measured)}\n")
    rows = [[name, f"{times[0]:.1f}", f"{statistics.median(times):.1f}"] for name, times in ready.items()]
    print(table(["ready after", "first", "median"], rows) + "\n")
    found = ratios(measured, list(ready))
    print(table(RATIO_HEAD, map(ratio_row, found.items())))
    print(json.dumps({name: round(ratio.value, 4) for name, ratio in found.items()}))
