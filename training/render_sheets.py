"""Documents before they are painted: texts and rules at their places, with the right answer about them."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.paddleocr_vl import prompts
from training.render_text import Page, Writer, edges, load_font, paint

MARGIN = 8  # pixels around the print
GAP = 10  # pixels at least between two texts of a line
TRIES = 30  # to make contents that fit


@dataclass(frozen=True)
class Style:
    """How a document is set; all images of one batch share it, which makes them about equally large."""

    font: str
    size: int  # pixels per em
    width: int  # pixels
    pitch: float  # lines per em
    items: int
    held_out: bool  # words and layouts


@dataclass(frozen=True)
class Run:
    """A text on a line, with its place."""

    text: str
    at: float = 0.0  # the share of the width where it begins, is centred or ends
    align: str = "l"  # begins: l, is centred: c, ends: r


Line = list[Run]
Rule = tuple[float, float, float, float]  # x0, y0, x1, y1


@dataclass(frozen=True)
class Sheet:
    """A document before it is painted."""

    kind: str
    width: int
    height: int
    font: ImageFont.FreeTypeFont
    marks: list[tuple[float, float, str]]  # x, y of the top, text
    rules: list[Rule]
    text: str  # the right answer to `prompt`
    centres: np.ndarray  # (pieces of text, 2)
    truth: dict[str, Any] | list[list[str]] = field(default_factory=dict)
    """Cells of a table, row by row, merged ones with their text in each place; else the mode's JSON object."""

    @property
    def prompt(self) -> str:
        return prompts.TABLE if self.kind == "table" else prompts.OCR


class TooWideError(Exception):
    """Contents that do not fit the width of their document."""


def fitted(make: Callable[[], Sheet]) -> Sheet:
    for _ in range(TRIES):
        try:
            sheet = make()
        except TooWideError:
            continue
        return sheet
    raise TooWideError


def draw_sheet(rng: random.Random, sheet: Sheet, width: int | None = None, height: int | None = None) -> Page:
    """The sheet painted on a canvas of its own size, or at a random place on a larger one."""
    width, height = width or sheet.width, height or sheet.height
    dx, dy = rng.randint(0, width - sheet.width), rng.randint(0, height - sheet.height)
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    for x, y, text in sheet.marks:
        draw.text((round(x) + dx, round(y) + dy), text, font=sheet.font, fill=255)
    for x0, y0, x1, y1 in sheet.rules:
        draw.line((round(x0) + dx, round(y0) + dy, round(x1) + dx, round(y1) + dy), fill=255)
    image = paint(rng, np.asarray(mask, dtype=np.float32) / 255)
    return Page(image, sheet.text, sheet.centres + np.array([dx, dy], dtype=np.float32))


def some(rng: random.Random, held_out: bool, training: Sequence[Any], unseen: Sequence[Any]) -> Any:
    """A layout value: one of training's or, in evaluation, mostly one held out of training."""
    return rng.choice(unseen) if held_out and rng.random() < 0.7 else rng.choice(training)


def title(writer: Writer, max_words: int = 2) -> str:
    return " ".join(writer.word() for _ in range(writer.rng.randint(1, max_words))).capitalize()


def set_lines(style: Style, kind: str, lines: list[Line], truth: dict[str, Any]) -> Sheet:
    """Lines of runs, read from left to right with a space between runs. Raises TooWideError."""
    font = load_font(style.font, style.size)
    ascent, descent = font.getmetrics()
    pitch = max(style.size * style.pitch, min(ascent + descent, 1.3 * style.size))
    inner = style.width - 2 * MARGIN
    marks: list[tuple[float, float, str]] = []
    places: list[tuple[float, float]] = []
    for number, line in enumerate(lines):
        y = MARGIN + number * pitch + (pitch - ascent - descent) / 2
        middle = y + ascent - 0.35 * style.size
        end = 0.0
        for run in line:
            xs = edges(font, run.text)
            x = MARGIN + inner * run.at - xs[-1] * {"l": 0.0, "c": 0.5, "r": 1.0}[run.align]
            if x < (end + GAP if end else MARGIN - 1) or x + xs[-1] > style.width - MARGIN + 1:
                raise TooWideError
            if end:
                places.append(((end + x) / 2, middle))  # the space between two runs
            marks.append((x, y, run.text))
            places += [(round(x) + at, middle) for at in (xs[1:] + xs[:-1]) / 2]
            end = x + xs[-1]
        places.append((end, middle))  # the newline
    text = "\n".join(" ".join(run.text for run in line) for line in lines)
    height = round(2 * MARGIN + len(lines) * pitch)
    return Sheet(kind, style.width, height, font, marks, [], text, np.array(places[:-1], dtype=np.float32), truth)
