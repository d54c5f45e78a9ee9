"""Documents before they are painted: strings and rules at their positions, with the answer expected from a model."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.paddleocr_vl import prompts
from training.render_text import Page, Writer, edges, load_font, paint

MARGIN = 8  # pixels around the print
MIN_GAP = 10  # pixels between two strings of a line
ATTEMPTS = 30  # to make contents that fit


@dataclass(frozen=True)
class Style:
    """The typography of a document; all images of a batch share it, so that their sizes are similar."""

    font: str
    size: int  # pixels per em
    width: int  # pixels
    pitch: float  # distance of lines, in ems
    items: int
    held_out: bool  # words and layouts
    scale: int = 1  # how many times as large as its image the document is drawn
    most_columns: int = 4
    wrapped: float = 0.0  # share of tables with a column whose cells take several lines


@dataclass(frozen=True)
class Run:
    """A string anchored somewhere on a line."""

    text: str
    anchor: float = 0.0  # share of the width
    align: str = "l"  # the text begins at the anchor: l, is centred there: c, ends there: r


Line = list[Run]
Rule = tuple[float, float, float, float]  # x0, y0, x1, y1


@dataclass(frozen=True)
class Sheet:
    """A document before it is painted."""

    kind: str
    width: int
    height: int
    font: ImageFont.FreeTypeFont
    strings: list[tuple[float, float, str]]  # x, y of the top, text
    rules: list[Rule]
    text: str  # the expected answer to `prompt`
    centres: np.ndarray  # (pieces of text, 2)
    truth: dict[str, Any] | list[list[str]] = field(default_factory=dict)
    """A table's cells row by row, with a merged cell's text at each of its positions; else the mode's JSON object."""

    @property
    def prompt(self) -> str:
        return prompts.TABLE if self.kind == "table" else prompts.OCR


class TooWideError(Exception):
    """The contents do not fit the width of the style."""


def make_fitting(make: Callable[[], Sheet]) -> Sheet:
    """The first sheet that fits. Raises TooWideError after ATTEMPTS that do not."""
    for _ in range(ATTEMPTS):
        try:
            sheet = make()
        except TooWideError:
            continue
        return sheet
    raise TooWideError


def draw_sheet(rng: random.Random, sheet: Sheet, width: int | None = None, height: int | None = None) -> Page:
    """The sheet painted on a canvas of its own size or, at a random position, on a larger one."""
    width, height = width or sheet.width, height or sheet.height
    dx, dy = rng.randint(0, width - sheet.width), rng.randint(0, height - sheet.height)
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    for x, y, text in sheet.strings:
        draw.text((round(x) + dx, round(y) + dy), text, font=sheet.font, fill=255)
    for x0, y0, x1, y1 in sheet.rules:
        draw.line((round(x0) + dx, round(y0) + dy, round(x1) + dx, round(y1) + dy), fill=255)
    image = paint(rng, np.asarray(mask, dtype=np.float32) / 255)
    return Page(image, sheet.text, sheet.centres + np.array([dx, dy], dtype=np.float32))


def choose_variant(rng: random.Random, held_out: bool, training: Sequence[Any], evaluation: Sequence[Any]) -> Any:
    """A variant of layout: one for training or, if `held_out`, mostly one that training never uses."""
    return rng.choice(evaluation) if held_out and rng.random() < 0.7 else rng.choice(training)


def title(writer: Writer, max_words: int = 2) -> str:
    return " ".join(writer.word() for _ in range(writer.rng.randint(1, max_words))).capitalize()


def typeset(style: Style, kind: str, lines: list[Line], truth: dict[str, Any]) -> Sheet:
    """The sheet of these lines; its text has a space between two runs of a line. Raises TooWideError."""
    font = load_font(style.font, style.size)
    ascent, descent = font.getmetrics()
    pitch = max(style.size * style.pitch, min(ascent + descent, 1.3 * style.size))
    inner = style.width - 2 * MARGIN
    strings: list[tuple[float, float, str]] = []
    centres: list[tuple[float, float]] = []
    for number, line in enumerate(lines):
        y = MARGIN + number * pitch + (pitch - ascent - descent) / 2
        middle = y + ascent - 0.35 * style.size
        end = 0.0
        for run in line:
            xs = edges(font, run.text)
            x = MARGIN + inner * run.anchor - xs[-1] * {"l": 0.0, "c": 0.5, "r": 1.0}[run.align]
            if x < (end + MIN_GAP if end else MARGIN - 1) or x + xs[-1] > style.width - MARGIN + 1:
                raise TooWideError
            if end:
                centres.append(((end + x) / 2, middle))  # the space between two runs
            strings.append((x, y, run.text))
            centres += [(round(x) + offset, middle) for offset in (xs[1:] + xs[:-1]) / 2]
            end = x + xs[-1]
        centres.append((end, middle))  # the newline
    return Sheet(
        kind=kind,
        width=style.width,
        height=round(2 * MARGIN + len(lines) * pitch),
        font=font,
        strings=strings,
        rules=[],
        text="\n".join(" ".join(run.text for run in line) for line in lines),
        centres=np.array(centres[:-1], dtype=np.float32),
        truth=truth,
    )
