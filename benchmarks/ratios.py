"""Report of `bench.py compare`: ratios of ours over others, absolute figures, and the machine."""

import importlib.metadata
import platform
import shutil
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from api import __version__
from benchmarks.measure import REFERENCE, Found

# Figures of every peer: requests at once, and the place in its summary.
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
        """The smallest and the largest ratio of a round."""
        ratios = [ours / other for ours, other in zip(self.ours, self.other, strict=True)]
        return min(ratios), max(ratios)


def ratios(found: Found) -> dict[str, Ratio]:
    """The nine ratios; those called time, gap and floor are better when lower, those called rate when higher."""
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
    """Ours over one peer's, at the levels of load that the peer ran."""
    return {
        key: Ratio(name, found.of("ours", at_once, *path), found.of(name, at_once, *path))
        for key, (at_once, *path) in AGAINST.items()
        if (name, at_once) in found.levels
    }


def floor_seconds(floors: Sequence[Mapping[str, float]]) -> float:
    """Minimum seconds of a decode step: its weights read at the best rate of the run."""
    return floors[0]["bytes"] / max(floor["rate"] for floor in floors)


def report(found: Found) -> str:
    others = dict.fromkeys(name for name, _ in found.levels if name not in ("ours", REFERENCE))
    named = [*ratios(found).items(), *(pair for name in others for pair in against(found, name).items())]
    return "\n\n".join(
        (
            machine(found.device),
            f"Medians of {len(found.ready)} rounds; ours in {found.dtype}. Seconds and MiB.\n{absolute(found)}",
            f"Ours over others, and the smallest and largest of a round.\n{table(HEAD, map(row, named))}",
        )
    )


HEAD = ("", "over", "ours", "other", "ratio", "min..max")


def row(named: tuple[str, Ratio]) -> list[str]:
    name, ratio = named
    sides = [middle(side) for side in (ratio.ours, ratio.other)]
    low, high = ratio.spread
    return [name, ratio.over, *sides, f"{ratio.value:.3g}", f"{low:.3g}..{high:.3g}"]


def middle(values: Sequence[float]) -> str:
    """The median with four digits, not in powers of ten."""
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
    text = information.read_text() if information.exists() else ""
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
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
