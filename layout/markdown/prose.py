"""The text of a block -> paragraphs and lists."""

from dataclasses import dataclass, field

from layout.markdown import escape, lines, lists
from layout.markdown.escape import Protected

HARD_BREAK = "  \n"


@dataclass(frozen=True)
class Prose:
    """A block's text as Markdown."""

    text: str
    begins_list: bool = False
    list: lists.ListWriter | None = None  # the one that it ends with
    open: bool = False  # whether its last sentence may go on in another block


@dataclass
class _Piece:
    """A paragraph or an item, as lines that are kept apart, each of printed lines that are joined."""

    lines: list[list[str]] = field(default_factory=list)
    item: lists.Marker | None = None
    text: str = ""


def prose(
    raw: str,
    size: tuple[float, float],
    *,
    goes_on: bool = False,
    after: lists.ListWriter | None = None,
    flows: bool = True,
) -> Prose:
    """Markdown of a block's text, as the model wrote it, in a box of `size` (width, height) in pixels.

    `goes_on`: it continues the paragraph before it. `after`: the list right before it. `flows`: blocks of its label may
    continue one another.
    """
    protected = escape.protect(raw.strip("\n").rstrip())
    printed = [line.rstrip() for line in protected.text.replace("\r", "").split("\n")]
    pieces = _pieces(printed, size)
    if not pieces:
        return Prose("")
    is_open = flows and not lines.ended(protected.restore(pieces[-1].lines[-1][-1]))
    may_go_on = is_open and sum(map(lines.ems, pieces[-1].lines[-1])) >= lines.LONG
    text, begins_list, writer = "", False, after
    for index, piece in enumerate(pieces):
        first = index == 0
        body = _body(piece, strict=goes_on and first, dollars=may_go_on and index == len(pieces) - 1)
        item = piece.item if piece.item and not (goes_on and first) else None
        was_list, writer = writer is not None and not (first and goes_on), writer or lists.ListWriter()
        if item and writer.fits(item):
            text += ("" if first else "\n" if was_list else "\n\n") + writer.begin(item) + escape.line_start(body)
            begins_list |= first
        else:
            text += ("" if first else "\n\n") + (body if goes_on and first else _paragraph(piece, body))
            writer = after if goes_on and first else None
    return Prose(protected.restore(text), begins_list, writer, is_open)


def running_line(raw: str) -> str:
    """A block's text on one line, escaped but for its start; for captions, alternative texts and the like."""
    protected = escape.protect(raw)
    return protected.restore(escape.inline(_joined(protected)))


def heading_line(raw: str) -> str:
    """A block's text as the text of a heading."""
    protected = escape.protect(raw)
    return protected.restore(escape.heading(_joined(protected)))


def kept_lines(raw: str) -> str:
    """A block's lines, each kept: a table of contents."""
    protected = escape.protect(raw)
    printed = [line.strip() for line in protected.text.split("\n")]
    escaped = [escape.line_start(escape.inline(line, strict=True)) for line in printed if line]
    return protected.restore(HARD_BREAK.join(escaped))


def readable_code(raw: str) -> str:
    """A block's lines as they are, formulas in dollars."""
    protected = escape.protect(raw.strip("\n").rstrip())
    return protected.restore(protected.text)


def _joined(protected: Protected) -> str:
    return lines.join([line.strip() for line in protected.text.split("\n") if line.strip()])


def _body(piece: _Piece, *, strict: bool, dollars: bool = False) -> str:
    """The lines of a piece, escaped but for the start of its first."""
    joined = [lines.join(line) for line in piece.lines]
    inner = escape.inline("\n".join(joined), strict=strict, dollars=dollars).split("\n")
    first, *rest = inner
    indent = " " * 2 if piece.item else ""
    return HARD_BREAK.join([first, *(indent + escape.line_start(line) for line in rest)])


def _paragraph(piece: _Piece, body: str) -> str:
    if piece.item is None:
        return escape.line_start(body)
    number = "" if piece.item.number is None else f"{piece.item.number}\\{piece.item.kind} "
    return number + body if number else escape.line_start(body)


def _pieces(printed: list[str], size: tuple[float, float]) -> list[_Piece]:
    """Lines -> paragraphs and items."""
    stripped = [line.strip() for line in printed]
    ends = lines.ends(stripped, size)
    items = _items(printed, stripped)
    pieces: list[_Piece] = []
    kept: list[str] | None = None  # printed lines of the line that goes on
    for index, line in enumerate(stripped):
        end = "paragraph" if index == 0 else ends[index - 1]
        item = items[index]
        if not line:
            kept = None
        elif item or not pieces or kept is None or end == "paragraph":
            kept = [item.text if item else line]
            pieces.append(_Piece([kept], item))
        elif end == "break" and pieces[-1].item is None:
            kept = [line]
            pieces[-1].lines.append(kept)
        else:
            kept.append(line)
    return pieces


def _items(printed: list[str], stripped: list[str]) -> list[lists.Marker | None]:
    """The marker of each line that begins an item, else None.

    A line within a paragraph may begin with a number by chance: it begins an item if it counts on, or if what comes
    before it has ended. Some markers make a list only if the block has two of them.
    """
    found = [lists.marker(line) for line in printed]
    company = len(found) - found.count(None) > 1
    items: list[lists.Marker | None] = []
    numbers: dict[str, int] = {}  # kind of number -> the last one
    for index, one in enumerate(found):
        before = stripped[index - 1] if index else ""
        item = one if one and (one.sure or company) else None
        if item and item.number is not None:
            counts_on = numbers.get(item.kind) == item.number - 1
            item = item if not before or counts_on or lines.ended(before) else None
        if item and item.number is not None:
            numbers[item.kind] = item.number
        items.append(item)
    return items
