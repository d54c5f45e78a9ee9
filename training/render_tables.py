"""Small tables, ruled or not, some with merged cells or with cells of several lines, and their OTSL."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import ImageFont

from training.render_sheets import MARGIN, Rule, Sheet, Style, TooWideError, choose_variant, title
from training.render_text import Writer, edges, load_font

Owner = list[list[tuple[int, int]]]
"""Row and column of the cell that each grid position belongs to; merged cells own several positions."""


def table(rng: random.Random, style: Style) -> Sheet:
    """A table and its OTSL (Lysak et al. 2023, arXiv:2305.03393). Raises TooWideError."""
    font = load_font(style.font, style.size)
    ascent, descent = font.getmetrics()
    writer = Writer(rng, held_out=style.held_out)
    rows, columns = style.items + rng.randint(1, 2), rng.randint(2, style.most_columns)
    texts = cell_texts(rng, writer, rows, columns)
    owner = merge_cells(rng, rows, columns, held_out=style.held_out)
    ruled = choose_variant(rng, style.held_out, ["all", "all", "none", "header"], ["rows", "outer"])
    pad = style.scale * (rng.uniform(4, 10) if ruled == "all" else rng.uniform(9, 15))  # space separates the columns
    natural = [
        max(
            edges(font, texts[r][c])[-1]
            for r in range(rows)
            if (owner[r][c] == (r, c) and span(owner, r, c)[1] == 1) or r == rows - 1
        )
        for c in range(columns)
    ]
    cells = [[[text] for text in row] for row in texts]
    merged = any(own != (r, c) for r, row in enumerate(owner) for c, own in enumerate(row))
    wraps = style.wrapped > 0 and not merged and rng.random() < style.wrapped
    if wraps:
        narrow = rng.randrange(columns)
        natural[narrow] *= rng.uniform(0.45, 0.95)
        for row in cells:
            row[narrow] = broken(font, row[narrow][0], natural[narrow])
    widths = [width + 2 * pad + style.scale * rng.uniform(0, 12) for width in natural]
    pitch = max(style.size * style.pitch, ascent + descent) + style.scale * rng.uniform(0, 6)
    if sum(widths) > style.width - 2 * MARGIN:
        raise TooWideError
    leading = style.size * rng.uniform(1.0, 1.3) if wraps else 0.0
    heights = [pitch + leading * (max(map(len, row)) - 1) for row in cells]
    frame = Frame(
        xs=MARGIN + np.cumsum([0.0, *widths]),
        ys=MARGIN + np.cumsum([0.0, *heights]),
        pitch=pitch,
        leading=leading,
        on_top=wraps and rng.random() < 0.5,
        pad=pad,
        aligns=["l"] + [rng.choice("lcr") for _ in range(columns - 1)],
    )
    contents = place_cells(cells, owner, frame, font)
    return Sheet(
        kind="table",
        width=round(frame.xs[-1] + MARGIN),
        height=round(frame.ys[-1] + MARGIN),
        font=font,
        strings=contents.strings,
        rules=ruling(ruled, owner, frame.xs, frame.ys),
        text="".join(contents.pieces),
        centres=np.array(contents.centres, dtype=np.float32),
        truth=[[texts[r][c] for r, c in row] for row in owner],
    )


@dataclass(frozen=True)
class Frame:
    """The column and row boundaries of a table and the position of the text between them."""

    xs: np.ndarray  # (columns + 1,) pixels
    ys: np.ndarray  # (rows + 1,) pixels
    pitch: float  # pixels from row to row, where cells have one line
    leading: float  # pixels from line to line within a cell
    on_top: bool  # cells with fewer lines than others of their row begin at its top, not around its middle
    pad: float  # pixels between a boundary and the text
    aligns: list[str]  # l, c or r for each column


@dataclass(frozen=True)
class Contents:
    """The strings of a table and the pieces of its OTSL."""

    strings: list[tuple[float, float, str]] = field(default_factory=list)  # x, y of the top, text
    pieces: list[str] = field(default_factory=list)
    centres: list[tuple[float, float]] = field(default_factory=list)  # x and y of each piece

    def add(self, piece: str, centre: tuple[float, float]) -> None:
        self.pieces.append(piece)
        self.centres.append(centre)


def broken(font: ImageFont.FreeTypeFont, text: str, width: float) -> list[str]:
    """The text in lines of up to this width, each with the blank that ends it; words that are wider are divided."""
    lines = [""]
    for word in re.findall(r"\S+\s*", text):
        if lines[-1] and font.getlength(lines[-1] + word.rstrip()) > width:
            lines.append("")
        for character in word:
            if lines[-1] and character != " " and font.getlength(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    return lines


def place_cells(cells: list[list[list[str]]], owner: Owner, frame: Frame, font: ImageFont.FreeTypeFont) -> Contents:
    """Every cell's text at its position. Raises TooWideError where one does not fit its cell."""
    ascent, descent = font.getmetrics()
    xs, ys = frame.xs, frame.ys
    contents = Contents()
    for r, row in enumerate(owner):
        for c, own in enumerate(row):
            middle = ((xs[c] + xs[c + 1]) / 2, (ys[r] + ys[r + 1]) / 2)
            if own != (r, c):
                merged = {(True, False): "<lcel>", (False, True): "<ucel>"}
                contents.add(merged.get((own[0] == r, own[1] == c), "<xcel>"), middle)
                continue
            lines, (down, across) = cells[r][c], span(owner, r, c)
            if not lines[0]:
                contents.add("<ecel>", middle)
                continue
            left, right = xs[c] + frame.pad, xs[c + across] - frame.pad
            align = "c" if across > 1 else frame.aligns[c]
            high = ascent + descent + frame.leading * (len(lines) - 1)
            top = ys[r] + (frame.pitch - ascent - descent) / 2 if frame.on_top else (ys[r] + ys[r + down] - high) / 2
            for number, text in enumerate(lines):
                letters = edges(font, text)
                if left + font.getlength(text.rstrip()) > right + 1:
                    raise TooWideError
                x = {"l": left, "c": (left + right - letters[-1]) / 2, "r": right - letters[-1]}[align]
                y = top + frame.leading * number
                line = y + ascent - 0.35 * font.size
                contents.strings.append((x, y, text))
                if not number:
                    contents.add("<fcel>", (x, line))
                for character, offset in zip(text, (letters[1:] + letters[:-1]) / 2, strict=True):
                    contents.add(character, (round(x) + offset, line))
        contents.add("<nl>", (xs[-1], ys[r] + frame.pitch / 2))
    return contents


def cell_texts(rng: random.Random, writer: Writer, rows: int, columns: int) -> list[list[str]]:
    """A header row and rows in which each column holds one kind of text."""
    makers: list[Callable[[], str]] = [
        lambda: title(writer, 1),
        lambda: title(writer, 2),
        lambda: str(int(10 ** rng.uniform(0, 4))),
        lambda: f"{10 ** rng.uniform(0, 3):.2f}",
        lambda: f"{rng.randint(0, 1000) / 10}%",
        lambda: str(rng.randint(1950, 2035)),
        lambda: rng.choice(["Yes", "No", "A", "B", "C", "n/a", "-"]),
    ]
    if not writer.held_out:
        makers += [
            lambda: f"#{int(10 ** rng.uniform(0, 6))}",
            lambda: f"{int(10 ** rng.uniform(2, 6)):,}",
            lambda: f"{rng.choice('$€£')}{10 ** rng.uniform(0, 4):,.2f}",
        ]
    chosen = [rng.choice(makers[:2]), *(rng.choice(makers[1:]) for _ in range(columns - 1))]
    # Training has more empty cells than the evaluation: a model tends to skip them, which shifts the rest of the row.
    empty = rng.choice([0, 0, 0.12] if writer.held_out else [0, 0.12, 0.2])
    body = [["" if rng.random() < empty else make() for make in chosen] for _ in range(rows - 1)]
    return [[title(writer, 1) for _ in range(columns)], *body]


def merge_cells(rng: random.Random, rows: int, columns: int, *, held_out: bool) -> Owner:
    """Ownership of the grid positions: one table in four has one merged pair of cells.

    In training it is one in two, because merged cells are where a model fails.
    """
    owner = [[(r, c) for c in range(columns)] for r in range(rows)]
    kind = rng.random() if held_out else rng.random() / 2
    if kind < 0.15 and columns > 2 and rows > 2:
        column = rng.randint(1, columns - 2)
        owner[0][column + 1] = (0, column)
    elif kind < 0.25 and rows > 2:
        row = rng.randint(1, rows - 2)
        owner[row + 1][0] = (row, 0)
    return owner


def span(owner: Owner, r: int, c: int) -> tuple[int, int]:
    """Number of rows and of columns of a cell."""
    down = sum(owner[other][c] == (r, c) for other in range(len(owner)))
    return down, sum(own == (r, c) for own in owner[r])


def ruling(kind: str, owner: Owner, xs: np.ndarray, ys: np.ndarray) -> list[Rule]:
    """The rules of a table, none of them through a merged cell."""
    rows, columns = len(owner), len(owner[0])
    edge: list[Rule] = [(xs[0], ys[0], xs[-1], ys[0]), (xs[0], ys[-1], xs[-1], ys[-1])]
    if kind == "none":
        return []
    if kind == "header":
        return [*edge, (xs[0], ys[1], xs[-1], ys[1])]
    if kind == "rows":
        return edge + [
            (xs[0], ys[r], xs[-1], ys[r]) for r in range(1, rows) if all(owner[r][c][0] == r for c in range(columns))
        ]
    edge += [(xs[0], ys[0], xs[0], ys[-1]), (xs[-1], ys[0], xs[-1], ys[-1])]
    if kind == "outer":
        return edge
    inside: list[Rule] = []
    for r in range(rows):
        for c in range(columns):
            if r and owner[r][c] != owner[r - 1][c]:
                inside.append((xs[c], ys[r], xs[c + 1], ys[r]))
            if c and owner[r][c] != owner[r][c - 1]:
                inside.append((xs[c], ys[r], xs[c], ys[r + 1]))
    return edge + inside
