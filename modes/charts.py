"""Charts as PaddleOCR-VL writes them, lines of cells separated by `|` -> Markdown tables."""

import re

from modes.tables import BlockJoiner, pipe_row, under_header

_BREAK = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r":?-{3,}:?")


class ChartFinisher:
    """Writes lines with `|` as a Markdown table, of which the first is the header; other lines stay as they are.

    If the header begins and ends with a pipe, the pipes at the ends of all lines are a frame; otherwise a pipe there
    borders on an empty cell. The row of dashes that Markdown wants may already be there.
    """

    def __init__(self) -> None:
        self._held = ""  # the line that has not ended
        self._width = 0
        self._framed = False
        self._rule_may_come = False
        self._joiner = BlockJoiner()

    def push(self, text: str) -> str:
        *lines, self._held = (self._held + text).split("\n")
        return "".join(self._line(line, "\n") for line in lines)

    def end(self) -> str:
        return self._line(self._held, "") + self._joiner.end()

    def _line(self, line: str, ending: str) -> str:
        if "|" not in line:
            return self._joiner.text(line + ending)
        return self._joiner.table(self._row(line.strip()) if self._joiner.in_table else self._header(line.strip()))

    def _header(self, line: str) -> list[str]:
        self._framed = len(line) > 1 and line[0] == line[-1] == "|"
        cells = self._cells(line)
        self._width, self._rule_may_come = len(cells), True
        return under_header([pipe_row(cells, self._width)], self._width)

    def _row(self, line: str) -> list[str]:
        cells = self._cells(line)
        rule = self._rule_may_come and all(map(_RULE.fullmatch, cells))
        self._rule_may_come = False
        return [] if rule else [pipe_row(cells, self._width)]

    def _cells(self, line: str) -> list[str]:
        if self._framed:
            line = line.removeprefix("|").removesuffix("|")
        return [cell.strip().replace(r"\|", "|") for cell in _BREAK.split(line)]
