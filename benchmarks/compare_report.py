"""The printed report of a comparison: the machine, absolute values, and ratios."""

import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from api import __version__
from benchmarks.ratios import OURS, REFERENCE, Measurements, Ratio, all_ratios, ratios_to_peer

COLUMNS = {
    "requests/s": ("requests_per_second",),
    "first token": ("first_token", "p50"),
    "inter-token": ("inter_token", "p50"),
    "end to end": ("end_to_end", "p50"),
    "longest gap": ("inter_token", "max"),
    "peak RSS": ("peak_rss_mb",),
    "GPU": ("gpu_mb",),
}
RATIO_HEAD = ("", "over", "ours", "other", "ratio", "min..max")
CPU_FLAGS = ("amx_bf16", "avx512_bf16", "avx2")


def report(measured: Measurements) -> str:
    others = dict.fromkeys(name for name, _ in measured.levels if name not in (OURS, REFERENCE))
    named = [
        *all_ratios(measured).items(),
        *(pair for name in others for pair in ratios_to_peer(measured, name).items()),
    ]
    rounds = len(measured.ready)
    return "\n\n".join(
        (
            machine(measured.device),
            f"Medians of {rounds} rounds; ours in {measured.dtype}. Seconds and MiB.\n{level_table(measured)}",
            f"Ours over others, with the minimum and maximum of a round.\n{table(RATIO_HEAD, map(ratio_row, named))}",
        )
    )


def ratio_row(named: tuple[str, Ratio]) -> list[str]:
    name, ratio = named
    sides = [median_text(side) for side in (ratio.ours, ratio.other)]
    low, high = ratio.spread
    return [name, ratio.over, *sides, f"{ratio.value:.3g}", f"{low:.3g}..{high:.3g}"]


def median_text(values: Sequence[float]) -> str:
    """The median with four digits, without powers of ten."""
    if not values:
        return "-"
    value = statistics.median(values)
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def level_table(measured: Measurements) -> str:
    """The absolute values of every peer at every level of load."""
    rows = []
    for name, level in measured.levels:
        columns = [
            [value for value in measured.values(name, level, *path) if value is not None] for path in COLUMNS.values()
        ]
        rows.append([name, str(level), *map(median_text, columns)])
    return table(["", "at once", *COLUMNS], rows)


def table(head: Sequence[str], rows: Any) -> str:
    """Columns as wide as their widest cell, the first left-aligned."""
    cells = [list(head), *rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in cells
    )


def machine(device: str) -> str:
    """Date, device, processor and versions."""
    from engine.products import OVERRIDES  # imports torch, which takes seconds

    file = Path("/proc/cpuinfo")
    lines = dict(line.split(":", 1) for line in (file.read_text() if file.exists() else "").splitlines() if ":" in line)
    information = {key.strip(): value.split() for key, value in lines.items()}
    processor = " ".join(information.get("model name", [])) or platform.processor() or platform.machine()
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count()
    flags = [flag for flag in CPU_FLAGS if flag in information.get("flags", [])]
    limits = [f"{name}={os.environ[name]}" for name in OVERRIDES if name in os.environ]
    if device != "cpu" and shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        device += " " + subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "bentoml")]
    return "\n".join(
        (
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, on {device}",
            f"{processor}, {cores} cores, {' '.join(flags) or 'none of ' + ', '.join(CPU_FLAGS)}",
            *([f"playing an older one: {' '.join(limits)}"] if limits else []),
            f"this server {__version__}, Python {platform.python_version()}, {', '.join(versions)}",
        )
    )
