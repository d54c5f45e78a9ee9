#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Checks on a GPU all that a CPU cannot show: parity, times, memory, faults. About four minutes.

    scripts/gpu_check.py                        all sections, with random weights of the real size
    scripts/gpu_check.py --only decode,vision   some sections
    scripts/gpu_check.py --small                the embedded checkpoint; also on a CPU, to try the check itself
    python3 -m scripts.gpu_check                with no more than torch, transformers and Pillow installed

Each section is printed as a line of JSON when it ends, the whole report is the last line. Every section holds its
figures against bars; the exit code is 1 if a bar is missed or a section fails. transformers before 5.23 is a wrong
reference for the positions of image grids; the check sets it right.
"""

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.gpu.attention import decode_choices, vision_choices
from benchmarks.gpu.faults import faults, sampling
from benchmarks.gpu.generate import plain_generate
from benchmarks.gpu.machine import machine
from benchmarks.gpu.memory import memory
from benchmarks.gpu.old_card import old_card
from benchmarks.gpu.pages import pages
from benchmarks.gpu.parity import parity
from benchmarks.gpu.profiles import profiles
from benchmarks.gpu.report import Report, Section
from benchmarks.gpu.serving import serving
from benchmarks.gpu.speed import decode_steps, vision_and_prefill
from benchmarks.gpu.workplace import Workplace

SECTIONS = {  # the most important ones first, for a check that is cut short
    "machine": machine,
    "parity": parity,
    "decode": decode_steps,
    "vision": vision_and_prefill,
    "serving": serving,
    "transformers": plain_generate,
    "memory": memory,
    "faults": faults,
    "sampling": sampling,
    "old_card": old_card,
    "pages": pages,
    "decode_attention": decode_choices,
    "vision_attention": vision_choices,
    "kernels": profiles,
}
SECONDS = 240.0


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    logging.basicConfig(level=logging.ERROR)  # the faults made on purpose are logged, and transformers has its own
    for name in ("engine.build", "engine.fastest"):  # the plan, and what was measured at start
        logging.getLogger(name).setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        place = Workplace(Path(folder), small=options.small)
        report = Report(full=place.full, seconds=options.seconds, out=options.out)
        for name in options.only or SECTIONS:
            report.run(name, partial(section, place, name))
    print(json.dumps(report.whole))
    return 0 if report.ok else 1


def section(place: Workplace, name: str, told: Section) -> None:
    place.free()
    SECTIONS[name](place, told)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Check on a GPU all that a CPU cannot show.")
    parser.add_argument("--only", type=names, help=f"sections, separated by commas: {', '.join(SECTIONS)}")
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help="after which no further section begins (default: %(default)s)",
    )
    parser.add_argument("--small", action="store_true", help="the embedded checkpoint and small images")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the whole report, updated after each section")
    return parser.parse_args(arguments)


def names(text: str) -> list[str]:
    unknown = [name for name in text.split(",") if name not in SECTIONS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return text.split(",")


if __name__ == "__main__":
    sys.exit(main())
