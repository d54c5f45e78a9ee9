"""Figures in tables: the model reads a short token where the figure is, and the token stands for it in the text.

Knows boxes and texts, no pixels. Equal to PaddleX 3.7 (inference/pipelines/paddleocr_vl/uilts.py) in which figures of a
page get which token. In a text that lacks a figure's token PaddleX loses the figure; here it follows the text.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice

from models.detection import Box, Detection

FIGURES = frozenset({"image", "seal"})  # labels of what gets a token in a table
MIN_SIDE = 25  # pixels; in a smaller figure a token cannot be read
UNLIKE = frozenset("019")  # digits that are taken for letters, or for parts of others
SEED = 1024
TOKEN = re.compile(r"\[F\d+\]")


@dataclass(frozen=True)
class Figure:
    """A figure that lies in a table."""

    token: str
    found: Detection


def held(figure: Detection, table: Detection) -> bool:
    """Whether a table's image shows all of a figure."""
    inner, outer = figure.box, table.box
    return figure.label in FIGURES and (
        inner.left >= outer.left
        and inner.top >= outer.top
        and inner.right <= outer.right
        and inner.bottom <= outer.bottom
    )


def figures_in(table: Detection, detections: Sequence[Detection]) -> tuple[Figure, ...]:
    """The figures in a table that get a token. `detections`: all of the page, in order, as tokens depend on them."""
    every = [found for found in detections if found.label in FIGURES]
    pairs = zip(_tokens(len(every)), every, strict=True)
    return tuple(
        Figure(token, found) for token, found in pairs if held(found, table) and _shorter_side(found.box) >= MIN_SIDE
    )


def _shorter_side(box: Box) -> float:
    return min(box.width, box.height)


def _tokens(number: int) -> list[str]:
    numbers = list(islice(_clear_numbers(), number))
    random.Random(SEED).shuffle(numbers)
    return [f"[F{one}]" for one in numbers]


def _clear_numbers() -> Iterator[int]:
    return (number for number in count() if not UNLIKE & set(str(number)))


def put_back(text: str, figures: Mapping[str, str]) -> str:
    """A table's text with each token replaced by what stands for its figure, such as an `<img>`.

    What the text has no token for follows it, a blank line before each. Tokens that belong to no figure stay.
    """
    missing = [markup for token, markup in figures.items() if token not in text]
    return "\n\n".join([TOKEN.sub(lambda match: figures.get(match[0], match[0]), text), *missing])
