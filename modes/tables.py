"""Tables as PaddleOCR-VL writes them -> Markdown or HTML, whole or row by row.

OTSL (Lysak et al. 2023, arXiv:2305.03393) in the model's spelling: `<fcel>text` is a cell, `<ecel>` an empty one,
`<lcel>` a place merged into the cell on its left, `<ucel>` into the one above, `<xcel>` into both, `<nl>` ends a row.
Charts are written as lines of cells with `|` between them.

Nothing in the answer is an error: a table that does not add up is written with cells of its own where merges fail.
"""

import html
import re
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

TableFormat = Literal["auto", "markdown", "html", "otsl"]

TAG = re.compile(r"(<(?:[felux]cel|nl)>)")
WIDEST = 100  # columns; surplus cells join the last: one endless row would pad all others to its width

_HALF_TAG = re.compile(r"<(?:[felux](?:c(?:el?)?)?|nl?)?\Z")
_CHART_BREAK = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r":?-{3,}:?")


class Place(NamedTuple):
    """One place of the grid, as the model wrote it."""

    kind: str  # fcel | ecel | lcel | ucel | xcel
    text: str


@dataclass(slots=True)
class Cell:
    """Text over `rowspan` x `colspan` places, from its row and column on."""

    text: str
    column: int
    rowspan: int = 1
    colspan: int = 1


@dataclass
class Table:
    """Rows of the cells that begin in them, from left to right. No two cells cover the same place."""

    rows: list[list[Cell]] = field(default_factory=list)
    width: int = 0  # columns
    _widths: list[int] = field(default_factory=list)  # columns that each row covers, with the cells that reach into it
    _last: list[Cell] = field(default_factory=list)  # cells that cover the last row

    def add(self, places: list[Place]) -> None:
        """The next row, padded with empty cells to the widest so far."""
        self.width = max(self.width, len(places))
        kinds = ["fcel" if place.text else place.kind for place in places]
        kinds += ["ecel"] * (self.width - len(places))
        continued = [cell for cell in self._last if _goes_on(cell, kinds)]
        taken = {column for cell in continued for column in range(cell.column, cell.column + cell.colspan)}
        for cell in continued:
            cell.rowspan += 1
        row: list[Cell] = []
        for column in range(self.width):
            if column in taken:
                continue
            if kinds[column] == "lcel" and row and row[-1].column + row[-1].colspan == column:
                row[-1].colspan += 1
            else:
                row.append(Cell(places[column].text if column < len(places) else "", column))
        self._last = continued + row
        self._widths.append(self.width)
        self.rows.append(row)

    def pad(self) -> None:
        """Give the rows before the widest what they lack of it. Then every place is covered."""
        for row, width in zip(self.rows, self._widths, strict=True):
            row += [Cell("", column) for column in range(width, self.width)]
        self._widths = [self.width] * len(self.rows)

    @property
    def regular(self) -> bool:
        """Whether no cell is merged."""
        return all(cell.rowspan == cell.colspan == 1 for row in self.rows for cell in row)

    def settled(self, start: int) -> int:
        """How many rows no further row can merge up into, given that the first `start` are such."""
        for index, row in enumerate(self.rows[start:], start):
            if any(index + cell.rowspan == len(self.rows) for cell in row):
                return index
        return len(self.rows)

    def markdown_lines(self, start: int = 0, width: int = 0) -> list[str]:
        """From row `start` on, under a header of `width` columns or as wide as the widest row."""
        width = width or self.width
        lines = []
        for row in self.rows[start:]:
            texts = [""] * self.width
            for cell in row:
                texts[cell.column] = cell.text
            lines.append(_pipe_row(texts, width))
        return lines if start else _under_header(lines, width)

    def html_lines(self, start: int = 0, stop: int | None = None) -> list[str]:
        return [f"<tr>{''.join(map(_html_cell, row))}</tr>" for row in self.rows[start:stop]]


def parse(otsl: str) -> Table:
    """The table of an answer that is all table."""
    table = Table()
    for row in _HALF_TAG.sub("", otsl).split("<nl>"):
        if places := _places(row):
            table.add(places)
    table.pad()
    return table


def half_tag(text: str) -> str:
    """The end of a text that may be the beginning of a tag."""
    found = _HALF_TAG.search(text)
    return found.group() if found else ""


def _places(row: str) -> list[Place]:
    _, *pieces = TAG.split(row)
    places = [Place(tag[1:-1], text.strip()) for tag, text in zip(pieces[::2], pieces[1::2], strict=True)]
    if len(places) > WIDEST:
        places[WIDEST - 1 :] = [Place("fcel", _joined([place.text for place in places[WIDEST - 1 :]]))]
    return places


def _goes_on(cell: Cell, kinds: list[str]) -> bool:
    """Whether a row below merges up into the cell over its whole width, the only way that leaves a rectangle."""
    first, *others = kinds[cell.column : cell.column + cell.colspan]
    return first == "ucel" and all(kind in ("lcel", "ucel", "xcel") for kind in others)


def _joined(texts: list[str]) -> str:
    return " ".join(filter(None, texts))


def _lines_of(text: str) -> str:
    """A line break or an empty line would end a row of Markdown or, inside Markdown, a block of HTML."""
    return "<br>".join(line.strip() for line in text.splitlines() if line.strip())


def _pipe_row(texts: list[str], width: int) -> str:
    texts = texts + [""] * (width - len(texts))
    texts[width - 1 :] = [_joined(texts[width - 1 :])]
    return "| " + " | ".join(_lines_of(text).replace("|", r"\|") for text in texts) + " |"


def _under_header(lines: list[str], width: int) -> list[str]:
    return [*lines[:1], _pipe_row(["---"] * width, width), *lines[1:]]


def _html_cell(cell: Cell) -> str:
    rows = f' rowspan="{cell.rowspan}"' if cell.rowspan > 1 else ""
    columns = f' colspan="{cell.colspan}"' if cell.colspan > 1 else ""
    return f"<td{rows}{columns}>{_lines_of(html.escape(cell.text, quote=False))}</td>"


class _PageWriter:
    """Text and tables in turn, with one empty line between them instead of the blanks that stood there."""

    def __init__(self) -> None:
        self.in_table = False
        self._gap = ""  # precedes the next text
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
        """Lines of the table that is being written, or of a new one after text."""
        if not lines:
            return ""
        before = "\n" if self.in_table else "\n\n" if self._begun else ""
        self.in_table, self._begun, self._gap = True, True, ""
        return before + "\n".join(lines)

    def end(self) -> str:
        return self._gap


class _Writer:
    """One table as it comes in: the lines that are sure, after each row or all at the end."""

    def __init__(self, table_format: TableFormat, streaming: bool) -> None:
        self._format = table_format
        self._streaming = streaming
        self._table = Table()
        self._sent = 0  # rows
        self._width = 0  # columns of the header sent

    def add(self, places: list[Place]) -> list[str]:
        self._table.add(places)
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
    """Tables of an answer in the format asked for, the text around them as it is.

    `auto` is Markdown for a table without merged cells, else HTML. Streamed, the first row decides: merges in later
    rows of a Markdown table leave their places empty, and cells beyond the header's width are joined to the last
    cell. Not streamed, everything comes at the end. `otsl` is the answer unchanged.
    """

    def __init__(self, table_format: TableFormat, *, streaming: bool) -> None:
        self._format = table_format
        self._streaming = streaming
        self._held = ""  # perhaps half a tag; all of the answer where it is not streamed
        self._row = ""  # begun, with its tags
        self._writer: _Writer | None = None
        self._page = _PageWriter()

    def push(self, text: str) -> str:
        self._held += text
        if not self._streaming:
            return ""
        return self._consume(half_tag(self._held))

    def end(self) -> str:
        half = half_tag(self._held)
        out = self._consume(half)
        if not (self._row or self._writer):
            return out + self._page.text(half) + self._page.end()
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
            return self._page.text(piece)
        return self._end_table() + self._page.text(piece) if piece.strip() else ""

    def _end_row(self) -> str:
        if not self._row:  # the end of a row without cells
            return "" if self._writer else self._page.text("\n")
        self._writer = self._writer or _Writer(self._format, self._streaming)
        places, self._row = _places(self._row), ""
        return self._page.table(self._writer.add(places))

    def _end_table(self) -> str:
        writer, self._writer = self._writer, None
        return self._page.table(writer.end()) if writer else ""


class ChartFinisher:
    """Lines with `|` become a Markdown table, line by line, under the first of them; other lines stay.

    A header between pipes means that those at the ends of all lines are its frame; otherwise a `|` there is next to
    an empty cell. The row of dashes that Markdown wants may be there already.
    """

    def __init__(self) -> None:
        self._held = ""  # the line that has not ended
        self._width = 0
        self._framed = False
        self._rule_may_come = False
        self._page = _PageWriter()

    def push(self, text: str) -> str:
        *lines, self._held = (self._held + text).split("\n")
        return "".join(self._line(line, "\n") for line in lines)

    def end(self) -> str:
        return self._line(self._held, "") + self._page.end()

    def _line(self, line: str, ending: str) -> str:
        if "|" not in line:
            return self._page.text(line + ending)
        return self._page.table(self._row(line.strip()) if self._page.in_table else self._header(line.strip()))

    def _header(self, line: str) -> list[str]:
        self._framed = len(line) > 1 and line[0] == line[-1] == "|"
        cells = self._cells(line)
        self._width, self._rule_may_come = len(cells), True
        return _under_header([_pipe_row(cells, self._width)], self._width)

    def _row(self, line: str) -> list[str]:
        cells = self._cells(line)
        rule = self._rule_may_come and all(map(_RULE.fullmatch, cells))
        self._rule_may_come = False
        return [] if rule else [_pipe_row(cells, self._width)]

    def _cells(self, line: str) -> list[str]:
        if self._framed:
            line = line.removeprefix("|").removesuffix("|")
        return [cell.strip().replace(r"\|", "|") for cell in _CHART_BREAK.split(line)]
