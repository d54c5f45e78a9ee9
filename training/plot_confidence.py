"""The confidence of extracted values against how many of them are right."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no window

from matplotlib import pyplot

EDGES = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)


def bins(values: Sequence[tuple[float, bool]]) -> list[tuple[float, float, int]]:
    """Mean confidence, share of right values and their number, for each range of EDGES that has some."""
    found = []
    for low, high in itertools.pairwise(EDGES):
        inside = [(sure, right) for sure, right in values if low < sure <= high]
        if inside:
            mean = sum(sure for sure, _ in inside) / len(inside)
            found.append((mean, sum(right for _, right in inside) / len(inside), len(inside)))
    return found


def draw(values: Sequence[tuple[float, bool]], file: Path) -> None:
    """Write the plot. `values`: confidence of each value, and whether it is right."""
    points = bins(values)
    figure, axes = pyplot.subplots(figsize=(5, 5))
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="as confident as right")
    axes.plot([mean for mean, _, _ in points], [share for _, share, _ in points], marker="o", label="measured")
    for mean, share, count in points:
        axes.annotate(str(count), (mean, share), textcoords="offset points", xytext=(-4, -14), ha="right", fontsize=8)
    axes.set(xlabel="confidence", ylabel="share of right values", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="upper left")
    figure.tight_layout()
    figure.savefig(file, dpi=100)
    pyplot.close(figure)
