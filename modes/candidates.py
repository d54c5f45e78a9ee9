"""Candidates for a field: values on the page that its label, looks or position suggest, the surest first."""

from collections.abc import Iterator

from modes.labels import Label, column_of, field_of, words_of
from modes.page import SUMS, PageText, Span, TextLine, title_line
from modes.places import Blank, Value, distinct
from modes.schemas import Leaf, Node, ObjectNode
from modes.shapes import shaped
from modes.values import numbers

SHAPES = {"date": "date", "due_date": "date", "invoice_number": "code"} | dict.fromkeys(SUMS, "amount")
"""Looks of the values of known fields; other fields are text, or by their type numbers."""
NEEDS_COLON = {"to", "from", "net", "due"}  # words too common to be labels of texts by themselves
OWN = "own "  # before the words of a property that is not a known field


class Candidates:
    """Finds the candidates for the leaves of a schema on one page."""

    def __init__(self, page: PageText) -> None:
        self._page = page

    def blank(self, leaf: Leaf, path: str) -> Blank:
        if leaf.choices is not None:
            return Blank(path, leaf, [Value(choice) for choice in leaf.choices])
        name = path.rpartition(".")[2]
        known = field_of(name)
        for spans in self._tiers(leaf, known or OWN + words_of(name)):
            values = [value for span in spans if (value := self.value(leaf, span)) is not None]
            if values:
                return Blank(path, leaf, distinct(values))
        return Blank(path, leaf, [], anything=known is None)

    def _tiers(self, leaf: Leaf, label: str) -> Iterator[list[Span]]:
        """Runs where a field may be, the surest first."""
        text = "date" if "date" in label.split() else "text"
        shape = SHAPES.get(label, text if leaf.kind == "string" else "number")
        if label == "currency":
            yield self._labelled(label, "currency")
            yield self._currencies()
            return
        yield self._labelled(label, shape, strict=True)
        yield self._labelled(label, shape)
        yield self._below(label, shape)
        if label == "date":
            others = [(line, own) for line in self._page.lines for own in line.labels if own.field == "due_date"]
            other = {self._at(line, own, "date") for line, own in others}
            every = [(line.start + a, line.start + b) for line in self._page.lines for a, b in line.dates]
            yield [span for span in every if span not in other]
        if label in ("merchant", "vendor"):
            top = title_line(self._page)
            yield [top] if top is not None else []

    def _labelled(self, label: str, shape: str, *, strict: bool = False) -> list[Span]:
        """Values right after the label; strict: with nothing but marks and a rate before them."""
        found = []
        for line in self._page.lines:
            for own in line.labels:
                span = self._at(line, own, shape, strict=strict) if own.field == label else None
                if span is not None:
                    found.append(span)
        return found

    def _below(self, label: str, shape: str) -> list[Span]:
        """Values on the line below a label that is alone on its line."""
        found = []
        for line, below in zip(self._page.lines, self._page.lines[1:], strict=False):
            alone = [own for own in line.labels if own.field == label and line.text[own.end :].strip() == ""]
            if alone and not below.labels and line.text.strip().lower() != "invoice":
                span = shaped(below, (0, len(below.text)), shape, strict=True)
                if span is not None:
                    found.append(below.at(span))
        return found

    def _at(self, line: TextLine, label: Label, shape: str, *, strict: bool = False) -> Span | None:
        word = line.text[label.start : label.end].strip().lower()
        if shape == "text" and word in NEEDS_COLON:
            return None
        span = shaped(line, (label.end, label.stop), shape, strict=strict)
        return None if span is None else line.at(span)

    def _currencies(self) -> list[Span]:
        """The sign or code at the total, else at other amounts."""
        found: list[tuple[bool, Span]] = []
        for line in self._page.lines:
            total = any(label.field == "total" for label in line.labels)
            marks = [number.currency for number in line.numbers if number.currency is not None]
            found += [(total, (line.start + a, line.start + b)) for a, b in marks]
        chosen = [span for total, span in found if total] or [span for _, span in found]
        return chosen[:1]

    def value(self, leaf: Leaf, span: Span) -> Value | None:
        """The run as a value of the leaf's type; None if it is not one."""
        text = " ".join(self._page.text[slice(*span)].split())
        if leaf.kind == "string":
            return Value(text, span) if text else None
        found = numbers(text, self._page.mark)
        if len(found) != 1 or (leaf.kind == "integer" and found[0].value != int(found[0].value)):
            return None
        return Value(found[0].value, span)


def columns_of(node: ObjectNode) -> dict[str, str] | None:
    """The columns of items that an object's properties name; None if they name something else."""
    found = {name: column_of(name) if _is_printed(leaf) else None for name, leaf in node.properties.items()}
    amounts = [name for name, column in found.items() if column == "amount"]
    if None in found.values() or not any(column in ("amount", "unit_price") for column in found.values()):
        return None
    if len(amounts) > 1:  # a price next to a total is that of one piece
        prices = [name for name in amounts if "price" in words_of(name)]
        found |= dict.fromkeys(prices[:1], "unit_price")
    columns = {name: column for name, column in found.items() if column is not None}
    return columns if len(set(columns.values())) == len(columns) else None


def _is_printed(node: Node) -> bool:
    return isinstance(node, Leaf) and node.choices is None


def pair_names_of(node: ObjectNode) -> tuple[str, str] | None:
    """The label's and the value's property of an object that is a pair of a form."""
    names = list(node.properties)
    words = [words_of(name) for name in names]
    printed = all(map(_is_printed, node.properties.values()))
    if (
        printed
        and len(names) == 2
        and words[0] in ("label", "key", "field", "name")
        and words[1] in ("value", "text", "content")
    ):
        return names[0], names[1]
    return None
