"""Tables and charts of a document: as Markdown or HTML, and joined where a page ended between their rows."""

from collections.abc import Mapping, Sequence

from layout.markdown import escape
from layout.markdown.prose import prose
from modes.charts import ChartFinisher
from modes.tables import TAG, Cell, Table, TableFormat, parse

MAX_HEADER = 5  # rows; source: PaddleX 3.7, restructure_pages


def table(raw: str, table_format: TableFormat, figures: Mapping[str, str], size: tuple[float, float]) -> str:
    """A table's text as the model wrote it -> Markdown. `figures`: tokens in it -> what stands for the figure."""
    before, rows, after = split(raw)
    if not rows:
        return prose(raw, size, flows=False).text
    if table_format == "otsl":
        return escape.code(raw.strip())
    grid, html = parse(rows), is_html(raw, table_format)
    for cell in (cell for row in grid.rows for cell in row):
        cell.text = _cell(cell.text, html)
    written = "\n".join(["<table>", *grid.html_lines(), "</table>"] if html else grid.markdown_lines())
    for token, figure in figures.items():
        written = written.replace(token, figure)
    around = [prose(text, size, flows=False).text for text in (before, after)]
    return "\n\n".join(filter(None, (around[0], written, around[1])))


def is_html(raw: str, table_format: TableFormat) -> bool:
    """Whether a table's text becomes HTML."""
    return table_format == "html" or (table_format == "auto" and not parse(split(raw)[1]).regular)


def chart(raw: str) -> str:
    finisher = ChartFinisher()
    return (finisher.push(raw) + finisher.end()).strip()


def joined(first: str, second: str) -> str | None:
    """The text of a table whose rows go on in a second one, without its repeated header; None if they do not fit.

    They fit if both have as many columns.
    """
    (before, one, _), (_, other, after) = split(first), split(second)
    above, below = parse(one), parse(other)
    if not (one and other) or above.width != below.width:
        return None
    rows = other.split("<nl>")[_repeated(above, below) :]
    return before + one + ("" if one.endswith("<nl>") else "<nl>") + "<nl>".join(rows) + after


def split(raw: str) -> tuple[str, str, str]:
    """What comes before a table's first row, its rows, and what follows the last."""
    first = TAG.search(raw)
    if first is None:
        return raw, "", ""
    body = raw[first.start() :]
    rows, end, after = body.rpartition("<nl>")
    whole = bool(end) and not TAG.search(after)
    return raw[: first.start()], rows + end if whole else body, after if whole else ""


def _repeated(above: Table, below: Table) -> int:
    """Number of rows at the start of both that are equal: a header that is printed again."""
    count = 0
    for one, other in zip(above.rows[:MAX_HEADER], below.rows, strict=False):
        if _texts(one) != _texts(other):
            break
        count += 1
    return count if count < len(below.rows) else 0


def _texts(row: Sequence[Cell]) -> list[tuple[str, int]]:
    return [("".join(cell.text.split()).lower(), cell.colspan) for cell in row]


def _cell(text: str, html: bool) -> str:
    protected = escape.protect(text)
    return protected.restore(protected.text if html else escape.inline(protected.text))
