"""Places on a page where the value of a field may be: after its label, below it, or anywhere if its shape is enough."""

import re
from collections.abc import Iterator, Sequence

from modes.answer_tree import Value
from modes.labels import Label, field_of, words_of
from modes.page import SUMS, PageText, Span, TextLine, title_line
from modes.schemas import Leaf
from modes.values import CURRENCY, Number, numbers

SHAPES = {"date": "date", "due_date": "date", "invoice_number": "code"} | dict.fromkeys(SUMS, "amount")
"""Shapes of the values of known fields; other fields are text or, by their type, numbers."""
NEEDS_COLON = {"to", "from", "net", "due"}  # words too common to label a text by themselves
OWN = "own "  # prefix of the label of a property that is no known field


def label_of(name: str) -> str:
    """The label that a property's name stands for: a known field, else one made of its own words."""
    return field_of(name) or OWN + words_of(name)


class Candidates:
    """Finds the values that a page offers for a field."""

    def __init__(self, page: PageText) -> None:
        self._page = page

    def of(self, leaf: Leaf, name: str) -> list[Value]:
        """Values for the property `name`, all from the surest kind of place that offers any."""
        for spans in self._tiers(leaf, label_of(name)):
            values = [value for span in spans if (value := self.value(leaf, span)) is not None]
            if values:
                return _distinct(values)
        return []

    def value(self, leaf: Leaf, span: Span) -> Value | None:
        """The text of a span as a value of the leaf's type; None if it is none."""
        text = " ".join(self._page.text[slice(*span)].split())
        if leaf.kind == "string":
            return Value(text, span) if text else None
        found = numbers(text, self._page.mark)
        if len(found) != 1 or (leaf.kind == "integer" and found[0].value != int(found[0].value)):
            return None
        return Value(found[0].value, span)

    def _tiers(self, leaf: Leaf, label: str) -> Iterator[list[Span]]:
        """Spans that may hold the value, the surest places first."""
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
            yield self._dates()
        if label in ("merchant", "vendor"):
            top = title_line(self._page)
            yield [top] if top is not None else []

    def _labelled(self, label: str, shape: str, *, strict: bool = False) -> list[Span]:
        """Values after the label; `strict`: with only marks and a rate between."""
        found = []
        for line in self._page.lines:
            for own in line.labels:
                span = _after(line, own, shape, strict=strict) if own.field == label else None
                if span is not None:
                    found.append(span)
        return found

    def _below(self, label: str, shape: str) -> list[Span]:
        """Values on the line below a label that has nothing after it."""
        found = []
        for line, below in zip(self._page.lines, self._page.lines[1:], strict=False):
            alone = [own for own in line.labels if own.field == label and line.text[own.end :].strip() == ""]
            if alone and not below.labels and line.text.strip().lower() != "invoice":
                span = _shaped(below, (0, len(below.text)), shape, strict=True)
                if span is not None:
                    found.append(below.trimmed(span))
        return found

    def _dates(self) -> list[Span]:
        """All dates but those labelled as due."""
        due = {_after(line, own, "date") for line in self._page.lines for own in line.labels if own.field == "due_date"}
        every = [line.in_transcript(date) for line in self._page.lines for date in line.dates]
        return [span for span in every if span not in due]

    def _currencies(self) -> list[Span]:
        """The sign or code at the total, else at the first other amount."""
        found: list[tuple[bool, Span]] = []
        for line in self._page.lines:
            total = any(label.field == "total" for label in line.labels)
            marks = [number.currency for number in line.numbers if number.currency is not None]
            found += [(total, line.in_transcript(mark)) for mark in marks]
        chosen = [span for total, span in found if total] or [span for _, span in found]
        return chosen[:1]


def _after(line: TextLine, label: Label, shape: str, *, strict: bool = False) -> Span | None:
    """The transcript's span of the value after a label."""
    word = line.text[label.start : label.end].strip().lower()
    if shape == "text" and word in NEEDS_COLON:
        return None
    span = _shaped(line, (label.end, label.stop), shape, strict=strict)
    return None if span is None else line.trimmed(span)


def _shaped(line: TextLine, region: Span, shape: str, *, strict: bool) -> Span | None:
    """The part of a region of the line that has the shape; strict: little may come before it in the region."""
    start, end = region
    if shape in ("text", "code"):  # an amount below them may have been joined to their line
        end = min(end, len(line.text.split("\n", 1)[0])) if "\n" in line.text[start:end] else end
    text = line.text[start:end]
    if shape == "text":
        return (start, end) if re.search(r"\w", text) else None
    if shape == "currency":
        mark = re.match(CURRENCY, text)
        return None if mark is None else (start, start + mark.end())
    if shape == "date":
        found = next(((a, b) for a, b in line.dates if start <= a and b <= end), None)
        return None if found is None or (strict and re.search(r"\w", line.text[start : found[0]])) else found
    if shape == "code":
        return _code(line, start, text, strict=strict)
    inside = [number for number in line.numbers if start <= number.start and number.end <= end and not number.percent]
    if shape == "number":
        whole = next((number for number in inside if not _in_code(line.text, number)), None)
        return None if whole is None else (whole.start, whole.end)
    likely = [number for number in inside if number.amount] or inside
    if not likely or (strict and re.search(r"[^\W\d_]{4,}", line.text[start : likely[-1].start])):
        return None
    return likely[-1].start, likely[-1].end


def _in_code(text: str, number: Number) -> bool:
    """Whether a number is only a part of something longer, such as `0012-3456` or `17b`."""
    before, after = text[max(0, number.start - 2) : number.start], text[number.end : number.end + 2]
    return bool(re.fullmatch(r"\w[-/]", before) or re.match(r"[-/]\w|[^\W\d]", after))


def _code(line: TextLine, start: int, text: str, *, strict: bool) -> Span | None:
    """The first word that has a digit and is no date; strict: it must be the first word of all."""
    for word in re.finditer(r"[^\s.,;:()]\S*", text):
        end = len(word[0].rstrip(".,;:()")) + word.start()
        span = start + word.start(), start + end
        if re.search(r"\d", word[0]) and not any(a <= span[0] < b for a, b in line.dates):
            return span
        if strict:
            return None
    return None


def _distinct(values: Sequence[Value]) -> list[Value]:
    """Without values that repeat; the first place of each is its span."""
    return list({value.literal: value for value in reversed(values)}.values())[::-1]
