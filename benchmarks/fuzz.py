#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Fuzz the code that reads untrusted input: images, documents, addresses, requests, schemas and grammars.

    benchmarks/fuzz.py                          100,000 inputs, in a quarter of an hour
    benchmarks/fuzz.py --inputs 2000 --seed 7   fewer inputs, and different ones
    benchmarks/fuzz.py --replay FILE            an input that an earlier run saved

Valid inputs are made from the sample documents. Then bits are flipped; pieces are cut, duplicated and spliced; lengths
and numbers are set to boundary values; PNG checksums are repaired; and JSON is edited as a tree. Each input may be
accepted, or refused with a client error. Anything else is a finding: another exception, a 5xx status, a decoder that
hangs or crashes, or more than 5 seconds. Findings are printed and saved to build/fuzz/. The same seed makes the same
inputs. The last line is JSON.
"""

import argparse
import faulthandler
import json
import logging
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from benchmarks.fuzzing.damage import damaged, damaged_document, damaged_image, damaged_json, edited
from benchmarks.fuzzing.samples import (
    sample_addresses,
    sample_documents,
    sample_grammars,
    sample_images,
    sample_requests,
    sample_schemas,
)
from benchmarks.fuzzing.targets import Refusal, Targets

OUT = Path(__file__).resolve().parent.parent / "build" / "fuzz"
MAX_SECONDS = 5.0  # for one input
HANG_SECONDS = 60.0  # a hang in this process cannot be interrupted: after this the run ends
WARM_UP = 0.1  # share of the inputs before memory is first measured


@dataclass
class Kind:
    """One kind of input: how to make it, what reads it, and the outcomes."""

    make: Callable[[random.Random], bytes]
    read: Callable[[bytes], None]
    share: int  # percent of all inputs
    outcomes: Counter[str] = field(default_factory=Counter)


def kinds(targets: Targets) -> dict[str, Kind]:
    images, documents = sample_images(), sample_documents()
    bodies, schemas = sample_requests(images[0]), sample_schemas()
    urls, grammars = sample_addresses(images), sample_grammars()
    return {
        "image": Kind(
            make=lambda rng: damaged_image(rng.choice(images), images, rng),
            read=targets.file,
            share=40,
        ),
        "document": Kind(
            make=lambda rng: damaged_document(rng.choice(documents), documents, rng),
            read=targets.file,
            share=15,
        ),
        "address": Kind(
            make=lambda rng: damaged(rng.choice(urls), urls, rng),
            read=targets.address,
            share=10,
        ),
        "request": Kind(
            make=lambda rng: damaged_json(edited(rng.choice(bodies), bodies, rng), rng),
            read=targets.request,
            share=15,
        ),
        "schema": Kind(
            make=lambda rng: damaged_json(edited(rng.choice(schemas), schemas, rng), rng),
            read=targets.schema,
            share=15,
        ),
        "grammar": Kind(
            make=lambda rng: damaged(rng.choice(grammars), grammars, rng),
            read=targets.grammar,
            share=5,
        ),
    }


def try_input(read: Callable[[bytes], None], data: bytes) -> tuple[str, float, str]:
    """The outcome (fine, refused or finding), its seconds, and details of a finding."""
    started = time.perf_counter()
    outcome, details = "fine", ""
    try:
        read(data)
    except Refusal:
        outcome = "refused"
    except Exception:
        outcome, details = "finding", traceback.format_exc(limit=-6)
    seconds = time.perf_counter() - started
    if outcome != "finding" and seconds > MAX_SECONDS:
        outcome, details = "finding", f"it took {seconds:.1f} seconds"
    return outcome, seconds, details


def memory() -> float:
    """MiB of this process and its decoders."""
    own = psutil.Process()
    return sum(process.memory_info().rss for process in [own, *own.children()]) / 2**20


def run(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """The report on `count` inputs; findings are saved in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    under_way = folder / "under-way"  # left after a run that died: the input that ended it
    targets = Targets(decoder_seconds=MAX_SECONDS)
    try:
        all_kinds = kinds(targets)
        names, shares = list(all_kinds), [kind.share for kind in all_kinds.values()]
        slowest, before, findings = 0.0, memory(), 0
        for number in tqdm(range(count), unit="input", mininterval=1):
            rng = random.Random(f"{seed}-{number}")
            (name,) = rng.choices(names, shares)
            kind = all_kinds[name]
            data = kind.make(rng)
            saved = folder / f"{seed}-{number}.{name}"
            under_way.write_bytes(data)
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=2)
            outcome, seconds, details = try_input(kind.read, data)
            kind.outcomes[outcome] += 1
            slowest = max(slowest, seconds)
            if outcome == "finding":
                findings += 1
                saved.write_bytes(data)
                tqdm.write(f"{saved}: {details}")
            if number == int(count * WARM_UP):
                before = memory()
        faulthandler.cancel_dump_traceback_later()
        under_way.unlink()
        return {
            "inputs": count,
            "findings": findings,
            "slowest_seconds": round(slowest, 2),
            "rss_mb": round(memory(), 1),
            "rss_mb_growth": round(memory() - before, 1),
            "by_kind": {name: dict(kind.outcomes) for name, kind in all_kinds.items()},
        }
    finally:
        targets.close()


def replay(file: Path) -> None:
    targets = Targets(decoder_seconds=MAX_SECONDS)
    try:
        print(*try_input(kinds(targets)[file.suffix[1:]].read, file.read_bytes()))
    finally:
        targets.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replay", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR")
    given = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)  # every refusal would log a line
    try:
        if given.replay is not None:
            replay(given.replay)
            return 0
        report = run(given.inputs, given.seed, given.out)
    finally:
        logging.disable(logging.NOTSET)
    print(json.dumps(report))
    return 1 if report["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
