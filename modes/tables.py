"""Tables as PaddleOCR-VL writes them -> Markdown or HTML, whole or row by row.

OTSL (Lysak et al. 2023, arXiv:2305.03393) in the model's spelling: `<fcel>text` is a cell, `<ecel>` an empty one,
`<lcel>` a place merged into the cell on its left, `<ucel>` into the one above, `<xcel>` into both, `<nl>` ends a row.

No answer is an error: where a merge is impossible, the place becomes a cell of its own.
"""

import html
import re
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

TableFormat = Literal["auto", "markdown", "html", "otsl"]

TAG = re.compile(r"(<(?:[felux]cel|nl)>)")
MAX_COLUMNS = 100  # more are joined to the last: one endless row would pad all others to its width

_HALF_TAG = re.compile(r"<(?:[felux](?:c(?:el?)?)?|nl?)?\Z")


class GridCell(NamedTuple):
    """One place of the grid, as the model writes it."""

    kind: str  # fcel | ecel | lcel | ucel | xcel
    text: str


@dataclass(slots=True)
class Cell:
    """A cell that covers `rowspan` x `colspan` places of the grid, from its row and column on."""

    text: str
    column: int
    rowspan: int = 1
    colspan: int = 1


@dataclass
class Table:
    """A table: each row lists the cells that begin in it, from left to right. No two cells cover the same place."""

    rows: list[list[Cell]] = field(default_factory=list)
    width: int = 0  # columns
    _widths: list[int] = field(default_factory=list)  # columns of each row, with those that cells from above cover
    _last: list[Cell] = field(default_factory=list)  # the cells that cover the last row

    def add(self, grid_cells: list[GridCell]) -> None:
        """Add a row, padded with empty cells to the widest row so far."""
        self.width = max(self.width, len(grid_cells))
        kinds = ["fcel" if cell.text else cell.kind for cell in grid_cells]
        kinds += ["ecel"] * (self.width - len(grid_cells))
        continued = [cell for cell in self._last if _continues(cell, kinds)]
        covered = {column for cell in continued for column in range(cell.column, cell.column + cell.colspan)}
        for cell in continued:
            cell.rowspan += 1
        row: list[Cell] = []
        for column in range(self.width):
            if column in covered:
                continue
            if kinds[column] == "lcel" and row and row[-1].column + row[-1].colspan == column:
                row[-1].colspan += 1
            else:
                row.append(Cell(grid_cells[column].text if column < len(grid_cells) else "", column))
        self._last = continued + row
        self._widths.append(self.width)
        self.rows.append(row)

    def pad(self) -> None:
        """Pad the rows before the widest row with empty cells, so that every place is covered."""
        for row, width in zip(self.rows, self._widths, strict=True):
            row += [Cell("", column) for column in range(width, self.width)]
        self._widths = [self.width] * len(self.rows)

    @property
    def regular(self) -> bool:
        """Whether no cell is merged."""
        return all(cell.rowspan == cell.colspan == 1 for row in self.rows for cell in row)

    def settled(self, start: int) -> int:
        """Number of rows that no later row can merge into; the first `start` rows are known to be such."""
        for index, row in enumerate(self.rows[start:], start):
            if any(index + cell.rowspan == len(self.rows) for cell in row):
                return index
        return len(self.rows)

    def markdown_lines(self, start: int = 0, width: int = 0) -> list[str]:
        """Rows from `start` on, below a header of `width` columns, or of the widest row's width where it is 0."""
        width = width or self.width
        lines = []
        for row in self.rows[start:]:
            texts = [""] * self.width
            for cell in row:
                texts[cell.column] = cell.text
            lines.append(pipe_row(texts, width))
        return lines if start else under_header(lines, width)

    def html_lines(self, start: int = 0, stop: int | None = None) -> list[str]:
        return [f"<tr>{''.join(map(_html_cell, row))}</tr>" for row in self.rows[start:stop]]


def parse(otsl: str) -> Table:
    """The table of an answer that contains nothing else."""
    table = Table()
    for row in _HALF_TAG.sub("", otsl).split("<nl>"):
        if grid_cells := _grid_cells(row):
            table.add(grid_cells)
    table.pad()
    return table


def half_tag(text: str) -> str:
    """The end of a text that may be the beginning of a tag, "" if there is none."""
    found = _HALF_TAG.search(text)
    return found.group() if found else ""


def _grid_cells(row: str) -> list[GridCell]:
    _, *pieces = TAG.split(row)
    cells = [GridCell(tag[1:-1], text.strip()) for tag, text in zip(pieces[::2], pieces[1::2], strict=True)]
    if len(cells) > MAX_COLUMNS:
        cells[MAX_COLUMNS - 1 :] = [GridCell("fcel", _joined([cell.text for cell in cells[MAX_COLUMNS - 1 :]]))]
    return cells


def _continues(cell: Cell, kinds: list[str]) -> bool:
    """Whether the row below merges into the cell over its whole width; a part would leave no rectangle."""
    first, *others = kinds[cell.column : cell.column + cell.colspan]
    return first == "ucel" and all(kind in ("lcel", "ucel", "xcel") for kind in others)


def _joined(texts: list[str]) -> str:
    return " ".join(filter(None, texts))


def _on_one_line(text: str) -> str:
    """The text on one line: a line break would end a Markdown row, an empty line a block of HTML within Markdown."""
    return "<br>".join(line.strip() for line in text.splitlines() if line.strip())


def pipe_row(texts: list[str], width: int) -> str:
    texts = texts + [""] * (width - len(texts))
    texts[width - 1 :] = [_joined(texts[width - 1 :])]
    return "| " + " | ".join(_on_one_line(text).replace("|", r"\|") for text in texts) + " |"


def under_header(lines: list[str], width: int) -> list[str]:
    return [*lines[:1], pipe_row(["---"] * width, width), *lines[1:]]


def _html_cell(cell: Cell) -> str:
    rows = f' rowspan="{cell.rowspan}"' if cell.rowspan > 1 else ""
    columns = f' colspan="{cell.colspan}"' if cell.colspan > 1 else ""
    return f"<td{rows}{columns}>{_on_one_line(html.escape(cell.text, quote=False))}</td>"


class BlockJoiner:
    """Writes text and tables in turn, with one empty line between them instead of the model's whitespace."""

    def __init__(self) -> None:
        self.in_table = False
        self._gap = ""  # whitespace before the next text
        self._begun = False

    def text(self, piece: str) -> str:
        if self.in_table:
            piece = piece.lstrip()
            if not piece:
                return ""
            self.in_table, self._gap = False, "\n\n"
        whole = self._gap + piece
        body = whole.rstrip()
        self._gap = whole[len(body) :]
        self._begun = self._begun or bool(body)
        return body

    def table(self, lines: list[str]) -> str:
        """Add lines to the table that is being written, or begin one."""
        if not lines:
            return ""
        before = "\n" if self.in_table else "\n\n" if self._begun else ""
        self.in_table, self._begun, self._gap = True, True, ""
        return before + "\n".join(lines)

    def end(self) -> str:
        return self._gap


class _TableWriter:
    """Writes one table as its rows come in: lines that can no longer change after each row, or all at the end."""

    def __init__(self, table_format: TableFormat, streaming: bool) -> None:
        self._format = table_format
        self._streaming = streaming
        self._table = Table()
        self._sent = 0  # rows
        self._width = 0  # columns of the header that was sent

    def add(self, grid_cells: list[GridCell]) -> list[str]:
        self._table.add(grid_cells)
        return self._lines() if self._streaming else []

    def end(self) -> list[str]:
        if not self._streaming:
            self._table.pad()
        return self._lines(ended=True)

    def _lines(self, ended: bool = False) -> list[str]:
        if self._format == "auto":
            self._format = "markdown" if self._table.regular else "html"
        return self._html(ended) if self._format == "html" else self._markdown()

    def _markdown(self) -> list[str]:
        self._width = self._width or self._table.width
        if self._sent == len(self._table.rows):
            return []
        start, self._sent = self._sent, len(self._table.rows)
        return self._table.markdown_lines(start, self._width)

    def _html(self, ended: bool) -> list[str]:
        start, self._sent = self._sent, len(self._table.rows) if ended else self._table.settled(self._sent)
        lines = self._table.html_lines(start, self._sent)
        before = ["<table>"] if start == 0 and lines else []
        return [*before, *lines, *(["</table>"] if ended else [])]


class TableFinisher:
    """Writes the tables of an answer in the requested format and leaves the text around them as it is.

    `auto` is Markdown for a table without merged cells, else HTML. In a stream the first row decides: merges in later
    rows of a Markdown table leave their places empty, and cells beyond the header's width are joined to the row's last
    one. Without streaming, everything comes at the end. `otsl` leaves the answer unchanged.
    """

    def __init__(self, table_format: TableFormat, *, streaming: bool) -> None:
        self._format = table_format
        self._streaming = streaming
        self._held = ""  # perhaps half a tag; without streaming, the whole answer
        self._row = ""  # the row that has begun, with its tags
        self._writer: _TableWriter | None = None
        self._joiner = BlockJoiner()

    def push(self, text: str) -> str:
        self._held += text
        if not self._streaming:
            return ""
        return self._consume(half_tag(self._held))

    def end(self) -> str:
        half = half_tag(self._held)
        out = self._consume(half)
        if not (self._row or self._writer):
            return out + self._joiner.text(half) + self._joiner.end()
        return out + self._end_row() + self._end_table()

    def _consume(self, half: str) -> str:
        sure, self._held = self._held[: len(self._held) - len(half)], half
        if self._format == "otsl":
            return sure
        return "".join(map(self._piece, TAG.split(sure)))

    def _piece(self, piece: str) -> str:
        """A tag or text."""
        if piece == "<nl>":
            return self._end_row()
        if self._row or TAG.match(piece):
            self._row += piece
            return ""
        if not self._writer:
            return self._joiner.text(piece)
        return self._end_table() + self._joiner.text(piece) if piece.strip() else ""

    def _end_row(self) -> str:
        if not self._row:  # the end of a row without cells
            return "" if self._writer else self._joiner.text("\n")
        self._writer = self._writer or _TableWriter(self._format, self._streaming)
        grid_cells, self._row = _grid_cells(self._row), ""
        return self._joiner.table(self._writer.add(grid_cells))

    def _end_table(self) -> str:
        writer, self._writer = self._writer, None
        return self._joiner.table(writer.end()) if writer else ""
