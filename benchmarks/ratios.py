"""Measurements of a comparison, and the ratios between them."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

OURS = "ours"
REFERENCE = "transformers serve"


class Level(NamedTuple):
    """A level of load."""

    at_once: int  # requests
    stream: bool = True

    def __str__(self) -> str:
        return f"{self.at_once}{'' if self.stream else ', not streamed'}"


# The ratios reported for every peer: the level, and the path of the value in a summary.
AGAINST: Mapping[str, tuple[Level, *tuple[str, ...]]] = {
    "c1_e2e_time": (Level(1), "end_to_end", "p50"),
    "c1_first_token_time": (Level(1), "first_token", "p50"),
    "c8_request_rate": (Level(8), "requests_per_second"),
}


@dataclass(frozen=True)
class Ratio:
    """Our value over another, each measured once a round, both in the same unit."""

    over: str
    ours: Sequence[float]
    other: Sequence[float]

    @property
    def value(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.other)

    @property
    def spread(self) -> tuple[float, float]:
        """The minimum and maximum ratio of a round."""
        ratios = [ours / other for ours, other in zip(self.ours, self.other, strict=True)]
        return min(ratios), max(ratios)


@dataclass
class Measurements:
    """All values that a run measures, one a round; times in seconds, rates a second."""

    device: str = ""
    dtype: str = ""  # our server's
    levels: dict[tuple[str, Level], list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    ready: list[float] = field(default_factory=list)
    read_weights: list[float] = field(default_factory=list)
    first_question: list[float] = field(default_factory=list)
    second_question: list[float] = field(default_factory=list)
    floors: list[dict[str, float]] = field(default_factory=list)
    vision: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def values(self, name: str, level: Level, *path: str) -> list[float]:
        """One value from a peer's summaries at one level of load."""
        values = []
        for measured in self.levels[name, level]:
            value: Any = measured
            for key in path:
                value = value[key]
            values.append(value)
        return values


def all_ratios(measured: Measurements) -> dict[str, Ratio]:
    """The nine ratios: lower is better for those named time, gap and floor, higher for those named rate."""
    step = measured.values(OURS, Level(1), "inter_token", "p50")
    floor = floor_seconds(measured.floors)
    return {
        **ratios_to_peer(measured, REFERENCE),
        "c8_longest_gap": Ratio("own step, unloaded", measured.values(OURS, Level(8), "inter_token", "max"), step),
        "second_question_time": Ratio("first question", measured.second_question, measured.first_question),
        "decode_over_floor": Ratio("weights at best rate", step, [floor] * len(step)),
        "ready_time": Ratio("torch, reading weights", measured.ready, measured.read_weights),
        **{
            name: Ratio("transformers", rates["ours"], rates["transformers"]) for name, rates in measured.vision.items()
        },
    }


def ratios_to_peer(measured: Measurements, name: str) -> dict[str, Ratio]:
    """Our values over one peer's, at the levels of load that it ran."""
    return {
        key: Ratio(name, measured.values(OURS, level, *path), measured.values(name, level, *path))
        for key, (level, *path) in AGAINST.items()
        if (name, level) in measured.levels
    }


def floor_seconds(floors: Sequence[Mapping[str, float]]) -> float:
    """The minimum time of a decode step: its weights read at the best rate of the run."""
    return floors[0]["bytes"] / max(floor["rate"] for floor in floors)
