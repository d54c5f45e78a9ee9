"""Texts with their boxes as a transcript: what stands side by side is one line, with tabs where there are gaps.

A row of fewer cells than the row above gets empty ones, so that each value stands under its label.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

WORD_GAP = 0.8  # share of the text's height: a wider gap parts cells


@dataclass(frozen=True)
class BoxedText:
    """A text and its box in pixels."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    place: tuple[int, int] | None = None  # [start, end) in what it was taken from

    @property
    def height(self) -> float:
        return self.bottom - self.top


@dataclass
class _Cell:
    left: float
    right: float
    texts: list[BoxedText] = field(default_factory=list)  # from left to right; none: a cell that is empty


def transcript_of(texts: Iterable[BoxedText]) -> str:
    """The transcript of texts in any order; those of several lines are parted evenly."""
    return "".join(between + ("" if text is None else text.text) for between, text in pieces_of(texts))


def pieces_of(texts: Iterable[BoxedText]) -> Iterator[tuple[str, BoxedText | None]]:
    """The lines of texts in the order of the transcript, each with what stands before it; None: an empty cell."""
    lines = [line for text in texts for line in _lines(text)]
    above: list[_Cell] = []
    for number, row in enumerate(_rows(lines)):
        cells = _under(_cells(row), above)
        for column, cell in enumerate(cells):
            between = "\t" if column else "\n" if number else ""
            for text in cell.texts or (None,):
                yield between, text
                between = " "
        above = cells


def _lines(text: BoxedText) -> Iterable[BoxedText]:
    parts = [part for part in text.text.split("\n") if part.strip()]
    if len(parts) == 1:
        yield replace(text, text=parts[0].strip())
        return
    step = text.height / max(1, len(parts))
    for index, part in enumerate(parts):
        top = text.top + index * step
        yield BoxedText(part.strip(), text.left, top, text.right, top + step)


def _rows(lines: Sequence[BoxedText]) -> list[list[BoxedText]]:
    """Texts by row from top to bottom: one belongs to a row if its middle lies in the row's first text, or reversed."""
    rows: list[list[BoxedText]] = []
    for line in sorted(lines, key=lambda line: (line.top + line.bottom) / 2):
        first = rows[-1][0] if rows else None
        middle = (line.top + line.bottom) / 2
        if first is not None and first.top < middle < first.bottom:
            rows[-1].append(line)
        else:
            rows.append([line])
    return rows


def _cells(row: Sequence[BoxedText]) -> list[_Cell]:
    cells: list[_Cell] = []
    for line in sorted(row, key=lambda line: line.left):
        if not cells or line.left - cells[-1].right >= WORD_GAP * line.height:
            cells.append(_Cell(line.left, line.right))
        cells[-1].texts.append(line)
        cells[-1].right = max(cells[-1].right, line.right)
    return cells


def _under(cells: list[_Cell], above: Sequence[_Cell]) -> list[_Cell]:
    """Cells with empty ones before those that stand under a later cell of the row above."""
    if len(cells) >= len(above) or len(above) < 2:
        return cells
    placed: dict[int, _Cell] = {}
    for cell in cells:
        overlaps = [min(cell.right, own.right) - max(cell.left, own.left) for own in above]
        best = max(range(len(above)), key=overlaps.__getitem__)
        if overlaps[best] <= 0 or best in placed:
            return cells
        placed[best] = cell
    return [placed.get(index, _Cell(own.left, own.right)) for index, own in enumerate(above[: max(placed) + 1])]
