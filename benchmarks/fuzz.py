#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Throws damaged images, documents, addresses, requests and schemas at their readers.

    benchmarks/fuzz.py                          100,000 inputs, in a quarter of an hour
    benchmarks/fuzz.py --inputs 2000 --seed 7   fewer, and different ones
    benchmarks/fuzz.py --replay FILE            an input that an earlier run has saved

Good inputs are made from the sample documents, then bits are flipped, pieces cut, doubled and spliced, lengths and
numbers set to what programmers forget, PNG's checksums mended, and JSON edited as a tree. Each input may be taken or
refused with an error for the client; anything else (another exception, a status of 5xx, a decoder that hangs or
crashes, more than 5 seconds) is a finding, which is printed and saved to build/fuzz/. The same seed makes the same
inputs. The last line is JSON.
"""

import argparse
import base64
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

from benchmarks.children import ROOT
from benchmarks.fuzz_damage import damaged, damaged_document, damaged_image, edited, written
from benchmarks.fuzz_inputs import GRAMMARS, URLS, documents, images, requests
from benchmarks.fuzz_targets import SECONDS, Refusal, Targets
from modes.schemas import SCHEMAS

SECONDS_TO_GIVE_UP = 60.0  # before a hang in this process, which nothing can interrupt, ends the run
WARM_UP = 0.1  # share of the inputs before memory is measured


@dataclass
class Kind:
    """One kind of input: how it is made, which target reads it, and how often."""

    make: Callable[[random.Random], bytes]
    read: Callable[[bytes], None]
    share: int  # percent of all inputs
    outcomes: Counter[str] = field(default_factory=Counter)


def kinds(targets: Targets) -> dict[str, Kind]:
    files, papers = images(), documents()
    bodies, schemas = (
        requests(files[0]),
        [
            *SCHEMAS.values(),
            {"$defs": {"a": {"type": "string"}}, "properties": {"b": {"$ref": "#/$defs/a"}}, "type": "object"},
        ],
    )
    urls = [
        url.encode()
        for url in (*URLS, *(f"data:image/png;base64,{base64.b64encode(one).decode()}" for one in files[:20]))
    ]
    grammars = [f"{kind}|{definition}".encode() for kind, definition in GRAMMARS]
    return {
        "image": Kind(lambda rng: damaged_image(rng.choice(files), files, rng), targets.file, 40),
        "document": Kind(lambda rng: damaged_document(rng.choice(papers), papers, rng), targets.file, 15),
        "address": Kind(lambda rng: damaged(rng.choice(urls), urls, rng), targets.address, 10),
        "request": Kind(lambda rng: written(edited(rng.choice(bodies), bodies, rng), rng), targets.request, 15),
        "schema": Kind(lambda rng: written(edited(rng.choice(schemas), schemas, rng), rng), targets.schema, 15),
        "grammar": Kind(lambda rng: damaged(rng.choice(grammars), grammars, rng), targets.grammar, 5),
    }


def tried(read: Callable[[bytes], None], data: bytes) -> tuple[str, float, str]:
    """Outcome (fine, refused or finding), seconds taken, and the description of a finding."""
    began = time.perf_counter()
    outcome, what = "fine", ""
    try:
        read(data)
    except Refusal:
        outcome = "refused"
    except Exception:
        outcome, what = "finding", traceback.format_exc(limit=-6)
    seconds = time.perf_counter() - began
    if outcome != "finding" and seconds > SECONDS:
        outcome, what = "finding", f"it took {seconds:.1f} seconds"
    return outcome, seconds, what


def memory() -> float:
    """Resident memory of this process and its decoders, in MiB."""
    own = psutil.Process()
    return sum(one.memory_info().rss for one in [own, *own.children()]) / 2**20


def run(count: int, seed: int, folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    under_way = folder / "under-way"  # a file left there ended the run
    targets = Targets()
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
            faulthandler.dump_traceback_later(SECONDS_TO_GIVE_UP, exit=True, file=2)
            outcome, seconds, what = tried(kind.read, data)
            kind.outcomes[outcome] += 1
            slowest = max(slowest, seconds)
            if outcome == "finding":
                findings += 1
                saved.write_bytes(data)
                tqdm.write(f"{saved}: {what}")
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


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replay", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "fuzz", metavar="DIR")
    given = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)  # each refusal would log a line
    try:
        if given.replay is not None:
            replay(given.replay)
            return 0
        report = run(given.inputs, given.seed, given.out)
    finally:
        logging.disable(logging.NOTSET)
    print(json.dumps(report))
    return 1 if report["findings"] else 0


def replay(file: Path) -> None:
    targets = Targets()
    try:
        print(*tried(kinds(targets)[file.suffix[1:]].read, file.read_bytes()))
    finally:
        targets.close()


if __name__ == "__main__":
    sys.exit(main())
