"""`bench.py compare`: our server next to others, on one checkpoint and in one run, reported as ratios.

Peers take turns, round by round, so that noise of the machine affects all alike; a waiting peer costs nothing. In a
round all get the same requests, and no image is repeated in another round.
"""

import argparse
import json
import signal
import tempfile
from pathlib import Path

from benchmarks.children import ROOT, ChildError
from benchmarks.load import (
    ServerError,
)
from benchmarks.measure import measure
from benchmarks.ratios import ratios, report


def checkpoint(arguments: argparse.Namespace) -> Path:
    if arguments.model is not None:
        return Path(arguments.model).resolve()
    from benchmarks.random_checkpoint import SIZES, random_checkpoint  # imports torch, which takes seconds

    if arguments.random not in SIZES:
        raise SystemExit(f"--random is {arguments.random!r}. Not one of {', '.join(SIZES)}.")
    return random_checkpoint(ROOT / "build" / f"random-{arguments.random}", arguments.random)


def compare(arguments: argparse.Namespace) -> None:
    """The command; its last line is the ratios as one JSON object."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it ends children, as Ctrl-C does
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
