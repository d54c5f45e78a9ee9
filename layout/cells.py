"""A table set anew: its cells cut out, each on one line, and put close to each other without rules.

For a model that reads narrow tables with cells of one line better than any other. Knows ink, and pixels only to cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image

from layout.columns import union
from layout.ink import Ink
from layout.paragraphs import Line, pieces_of, rows_of
from layout.segment.flow import walls_of
from models.detection import Box, hull

WALL = 0.5  # share of the table's height from which a rule going down parts its columns
EDGE = 1  # pixels around what is cut out

# Heights of a glyph:
DASH = 0.2  # shorter specks that stand alone are dirt
WHITE = 0.5  # least white between columns
WORD = 0.45  # least white between words
WORDS = 2.5  # most white between words; monospaced ones are wide
FULL = 2.0  # white up to the next column of a line that broke within a word, at most
BLANK = 0.55  # white put between words
GAP = 2.5  # white put between columns
PITCH, OVER = 2.4, 1.6  # from line to line, and from the top of one to what its letters stand on


@dataclass(frozen=True)
class Part:
    """A line of a cell where it is printed."""

    box: Box
    base: float  # height that its letters stand on, from the top of the image


@dataclass(frozen=True)
class Snippet:
    """A line of a cell, cut out."""

    image: Image.Image
    over: float  # pixels from its top to what its letters stand on
    before: float  # pixels of white to the line before it in the cell


Cell = list[Snippet]


def set_anew(image: Image.Image, ink: Ink, cuts: Sequence[float]) -> list[list[Cell]] | None:
    """The cells of a table row by row; None where its ink does not tell them. `cuts`: heights between its rows."""
    walls = walls_of(ink)
    tall = walls[walls[:, 3] - walls[:, 1] >= WALL * image.height]
    bounds = [0.0, *sorted({(left + right) / 2 for left, _, right, _ in tall.tolist()}), float(image.width)]
    pieces = _with_dashes(pieces_of(ink, walls), ink)
    columns = _columns(pieces, bounds, ink.glyph)
    if columns is None or len(columns) < 2:
        return None
    nexts = sorted([*bounds, *(start for start, _ in columns)])
    ends = [next(one for one in nexts if one > start) for start, _ in columns]
    rows: list[list[Cell]] = []
    for top, bottom in pairwise([0.0, *cuts, float(image.height)]):
        parts: list[list[Part]] = [[] for _ in columns]
        for line in rows_of([piece for piece in pieces if top <= _middle(piece.box) < bottom]):
            for own, (start, end) in zip(parts, columns, strict=True):
                inside = [box for box in line.parts if start <= box.left and box.right <= end]
                if any(other.left - box.right > WORDS * ink.glyph for box, other in pairwise(inside)):
                    return None  # a cell over several columns hides the white between them
                own += [Part(hull(inside), line.base)] if inside else []
        rows.append([_cell(image, ink, own, end) for own, end in zip(parts, ends, strict=True)])
    return rows


def drawn(rows: Sequence[Sequence[Cell]], glyph: float, paper: tuple[int, ...]) -> Image.Image:
    """The image of some rows."""
    widths = [max(_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    canvas = Image.new(
        "RGB", (round(sum(widths) + GAP * glyph * len(widths)), round((len(rows) * PITCH + 0.5) * glyph)), paper
    )
    for number, row in enumerate(rows):
        left = GAP * glyph / 2
        for cell, width in zip(row, widths, strict=True):
            x = left
            for snippet in cell:
                x += snippet.before
                top = (number * PITCH + OVER + 0.25) * glyph - snippet.over
                canvas.paste(snippet.image, (round(x), max(0, round(top))))
                x += snippet.image.width
            left += width + GAP * glyph
    return canvas


def _middle(box: Box) -> float:
    return (box.top + box.bottom) / 2


def _width(cell: Cell) -> float:
    return sum(snippet.image.width + snippet.before for snippet in cell)


def _with_dashes(pieces: Sequence[Line], ink: Ink) -> list[Line]:
    """The pieces, and the specks that belong to none, which may be all that a cell holds."""
    taken = [ink.with_specks(piece.box) for piece in pieces]
    specks = [
        Box(*speck)
        for speck in ink.specks.tolist()
        if max(speck[2] - speck[0], speck[3] - speck[1]) >= DASH * ink.glyph
    ]
    alone = [speck for speck in specks if not any(speck.inside(box) for box in taken)]
    return [*pieces, *(Line(box, box.height, box.height, box.bottom, 1, box.height, (box,)) for box in alone)]


def _columns(pieces: Sequence[Line], bounds: Sequence[float], glyph: float) -> list[tuple[float, float]] | None:
    """Left and right side of each column between bounds; None if something is printed across a bound."""
    found: list[tuple[float, float]] = []
    if any(piece.box.left < bound < piece.box.right for piece in pieces for bound in bounds):
        return None
    for left, right in pairwise(bounds):
        column: list[tuple[float, float]] = []
        for start, end in union([(one.box.left, one.box.right) for one in pieces if left <= one.box.left < right]):
            if column and start - column[-1][1] < WHITE * glyph:
                column[-1] = (column[-1][0], end)
            else:
                column.append((start, end))
        found += column
    return found


def _cell(image: Image.Image, ink: Ink, parts: Sequence[Part], end: float) -> Cell:
    """`end`: where the next column begins, or a rule before it."""
    found: Cell = []
    for before, part in zip([None, *parts], parts, strict=False):
        left, top, right, bottom = (int(side) for side in ink.with_specks(part.box))
        cut = image.crop((left - EDGE, top - EDGE, right + EDGE, bottom + EDGE))
        white = 0.0 if before is None or _breaks_word(before.box, ink, end) else BLANK * ink.glyph
        found.append(Snippet(cut, part.base - top + EDGE, white))
    return found


def _breaks_word(box: Box, ink: Ink, end: float) -> bool:
    """Whether a line of a cell ends within a word: it has only one, and fills its column."""
    if end - box.right > FULL * ink.glyph:
        return False
    left, top, right, bottom = ink.glyphs.T
    inside = (left >= box.left) & (right <= box.right) & (top >= box.top) & (bottom <= box.bottom)
    spans = union([(start, stop) for start, _, stop, _ in ink.glyphs[inside].tolist()])
    return all(start - stop < WORD * ink.glyph for (_, stop), (start, _) in pairwise(spans))
