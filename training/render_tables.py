"""Small tables, ruled or not, some with merged cells, and their OTSL."""

import random
from collections.abc import Callable

import numpy as np

from training.render_sheets import MARGIN, Rule, Sheet, Style, TooWideError, some, title
from training.render_text import Writer, edges, load_font

Owner = list[list[tuple[int, int]]]
"""The row and column of the cell that each place belongs to."""


def table(rng: random.Random, style: Style) -> Sheet:
    """A table and its OTSL (Lysak et al. 2023, arXiv:2305.03393). Raises TooWideError."""
    font = load_font(style.font, style.size)
    ascent, descent = font.getmetrics()
    writer = Writer(rng, held_out=style.held_out)
    rows, columns = style.items + rng.randint(1, 2), rng.randint(2, 4)
    marks_of = cell_texts(rng, writer, rows, columns)
    owner = merge_cells(rng, rows, columns, held_out=style.held_out)
    ruled = some(rng, style.held_out, ["all", "all", "none", "header"], ["rows", "outer"])
    pad = rng.uniform(4, 10) if ruled == "all" else rng.uniform(9, 15)  # space alone parts the columns
    natural = [
        max(
            edges(font, marks_of[r][c])[-1]
            for r in range(rows)
            if (owner[r][c] == (r, c) and span(owner, r, c)[1] == 1) or r == rows - 1
        )
        for c in range(columns)
    ]
    widths = [width + 2 * pad + rng.uniform(0, 12) for width in natural]
    pitch = max(style.size * style.pitch, ascent + descent) + rng.uniform(0, 6)
    if sum(widths) > style.width - 2 * MARGIN:
        raise TooWideError
    xs, ys = MARGIN + np.cumsum([0.0, *widths]), MARGIN + pitch * np.arange(rows + 1)
    aligns = ["l"] + [rng.choice("lcr") for _ in range(columns - 1)]
    marks, pieces, places, cells = [], [], [], []
    for r in range(rows):
        cells.append([marks_of[owner[r][c][0]][owner[r][c][1]] for c in range(columns)])
        for c in range(columns):
            own = owner[r][c]
            middle = ((xs[c] + xs[c + 1]) / 2, (ys[r] + ys[r + 1]) / 2)
            if own != (r, c):
                pieces.append(
                    {(True, False): "<lcel>", (False, True): "<ucel>"}.get((own[0] == r, own[1] == c), "<xcel>")
                )
                places.append(middle)
                continue
            text, (down, across) = marks_of[r][c], span(owner, r, c)
            if not text:
                pieces.append("<ecel>")
                places.append(middle)
                continue
            letters = edges(font, text)
            left, right = xs[c] + pad, xs[c + across] - pad
            if left + letters[-1] > right + 1:
                raise TooWideError
            align = "c" if across > 1 else aligns[c]
            x = {"l": left, "c": (left + right - letters[-1]) / 2, "r": right - letters[-1]}[align]
            y = (ys[r] + ys[r + down] - ascent - descent) / 2
            line = y + ascent - 0.35 * style.size
            marks.append((x, y, text))
            pieces += ["<fcel>", *text]
            places += [(x, line), *((round(x) + at, line) for at in (letters[1:] + letters[:-1]) / 2)]
        pieces.append("<nl>")
        places.append((xs[-1], ys[r] + pitch / 2))
    rules = ruling(ruled, owner, xs, ys)
    size = round(xs[-1] + MARGIN), round(ys[-1] + MARGIN)
    return Sheet("table", *size, font, marks, rules, "".join(pieces), np.array(places, dtype=np.float32), cells)


def cell_texts(rng: random.Random, writer: Writer, rows: int, columns: int) -> list[list[str]]:
    makers: list[Callable[[], str]] = [
        lambda: title(writer, 1),
        lambda: title(writer, 2),
        lambda: str(int(10 ** rng.uniform(0, 4))),
        lambda: f"{10 ** rng.uniform(0, 3):.2f}",
        lambda: f"{rng.randint(0, 1000) / 10}%",
        lambda: str(rng.randint(1950, 2035)),
        lambda: rng.choice(["Yes", "No", "A", "B", "C", "n/a", "-"]),
    ]
    chosen = [rng.choice(makers[:2]), *(rng.choice(makers[1:]) for _ in range(columns - 1))]
    # Training has more empty cells than the evaluation: a reader is apt to skip them, and the rest of the row shifts.
    empty = rng.choice([0, 0, 0.12] if writer.held_out else [0, 0.12, 0.2])
    body = [["" if rng.random() < empty else make() for make in chosen] for _ in range(rows - 1)]
    return [[title(writer, 1) for _ in range(columns)], *body]


def merge_cells(rng: random.Random, rows: int, columns: int, *, held_out: bool) -> Owner:
    """The row and column of the cell that each place belongs to: in one table of four, one merged pair.

    Training has twice as many, as they are what a reader gets wrong.
    """
    owner = [[(r, c) for c in range(columns)] for r in range(rows)]
    kind = rng.random() if held_out else rng.random() / 2
    if kind < 0.15 and columns > 2 and rows > 2:
        at = rng.randint(1, columns - 2)
        owner[0][at + 1] = (0, at)
    elif kind < 0.25 and rows > 2:
        at = rng.randint(1, rows - 2)
        owner[at + 1][0] = (at, 0)
    return owner


def span(owner: Owner, r: int, c: int) -> tuple[int, int]:
    """Rows and columns of a cell."""
    down = sum(owner[other][c] == (r, c) for other in range(len(owner)))
    return down, sum(place == (r, c) for place in owner[r])


def ruling(kind: str, owner: Owner, xs: np.ndarray, ys: np.ndarray) -> list[Rule]:
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
