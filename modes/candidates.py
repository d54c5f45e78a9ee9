"""Values that a page offers for a field: after its label, below it, or anywhere if its shape is enough."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from modes.columns import columns_of
from modes.items import adjoined
from modes.labels import OPENING, Label, field_of, is_address, words_of
from modes.page import SUMS, PageText, Span, TextLine
from modes.places import SHAPES, TITLES, elsewhere
from modes.printed.currencies import after_number
from modes.printed.numbers import Number
from modes.schemas import Leaf
from modes.sums import BESIDE, Option, Sums, sums_of, undecided
from modes.titles import title
from modes.values import Value

SUM_FIELDS = (*SUMS, *BESIDE, "paid", "change")
NEEDS_COLON = {"to", "from", "net", "due", "an", "title", "client"}  # too common to label a text by themselves
NUMBER_WORDS = frozenset(("", *"no nr n num nº number nummer numero numer id ref".split()))
MAX_MORE = 3  # lines that an address goes on for
OWN = "own "  # prefix of the label of a property that is no known field


@dataclass
class Choice:
    """What a page offers for a field."""

    candidates: list[Value] = field(default_factory=list)  # the likeliest first
    others: list[Value] = field(default_factory=list)  # what is possible, where nothing is chosen
    doubtful: bool = False


def label_of(name: str) -> str:
    """The label that a property's name stands for: a known field, else one made of its own words."""
    return field_of(name) or OWN + words_of(name)


class Candidates:
    """Finds the values that a page offers for a field."""

    def __init__(self, page: PageText) -> None:
        self._page = page
        self._places = elsewhere(page)[0]
        self.sums: Sums = sums_of(page)

    def of(self, leaf: Leaf, name: str) -> Choice:
        """Values for the property `name`, all from the surest kind of place that offers any."""
        label = label_of(name)
        if label in SUM_FIELDS:
            return self._sum(leaf, label)
        for tier in self._tiers(leaf, label):
            values = _distinct(tier)
            if values:
                return self._chosen(values)
        return Choice()

    def value(self, leaf: Leaf, spans: Sequence[Span]) -> Value | None:
        """The text of a place, or of several in a row, as a value of the leaf's type; None if it is none."""
        parts = list(adjoined(spans, self._page))
        text = " ".join(filter(None, map(self._page.shown, parts)))
        if not text or leaf.kind != "string":
            return None
        return Value(text, (parts[0][0], parts[-1][1]))

    def number(self, leaf: Leaf, value: Value) -> Value | None:
        """A number of the page as a value of the leaf's type."""
        if leaf.kind == "string":
            return self.value(leaf, [value.span]) if value.span else None
        assert isinstance(value.value, Decimal)
        return None if leaf.kind == "integer" and value.value != int(value.value) else value

    def _chosen(self, values: list[Value]) -> Choice:
        """A choice of equally likely values; none, where the page leaves open what its number means."""
        if len(values) == 1 and values[0].others:
            return Choice([], readings(values[0]), doubtful=True)
        return Choice(values, values[1:], doubtful=len(values) > 1)

    # --- sums --------------------------------------------------------------------------------------------------------

    def _sum(self, leaf: Leaf, kind: str) -> Choice:
        options = self.sums.options.get(kind) if kind in SUMS else self.sums.beside.get(kind)
        fitting = [(option, value) for option in options or [] if (value := self.number(leaf, option.value))]
        if not fitting:
            return Choice()
        values = [value for _, value in fitting]
        if kind in SUMS and undecided(kind, self.sums):
            return Choice([], values, doubtful=True)
        if kind in SUMS and self.sums.agreed:
            return self._chosen(values[:1])
        top = [value for option, value in fitting if option.rank == fitting[0][0].rank]
        return self._chosen(_distinct(top))

    def option(self, kind: str) -> Option | None:
        """The likeliest option for a sum."""
        return next(iter(self.sums.options.get(kind) or self.sums.beside.get(kind) or []), None)

    # --- places ------------------------------------------------------------------------------------------------------

    def _tiers(self, leaf: Leaf, label: str) -> Iterator[list[Value]]:
        """Values by the kind of place, the surest first."""
        text = "date" if "date" in label.split() else "text"
        shape = SHAPES.get(label, text if leaf.kind == "string" else "number")
        yield self._labelled(leaf, label, shape, strict=True)
        yield self._labelled(leaf, label, shape, strict=False)
        yield self._elsewhere(leaf, label, shape)
        if label == "currency":
            yield self._currencies()
        if label == "date":
            yield self._dates(leaf)
        if label in ("merchant", "vendor"):
            top = title(self._page)
            yield [value] if top is not None and (value := self.value(leaf, [top])) else []

    def _labelled(self, leaf: Leaf, label: str, shape: str, *, strict: bool) -> list[Value]:
        """Values after the label; `strict`: with only marks between."""
        found = []
        for index, line in enumerate(self._page.lines):
            for own in line.labels:
                if own.field != label or (shape == "text" and _is_too_common(line, own)):
                    continue
                value = self._shaped(leaf, line, (own.end, own.stop), shape, strict=strict)
                if value is not None:
                    found.append(self._with_more(leaf, value, index, own))
        return found

    def _elsewhere(self, leaf: Leaf, label: str, shape: str) -> list[Value]:
        """Values below a label that has nothing after it."""
        found = []
        for place in self._places:
            value = self._shaped(leaf, place.line, place.region, shape, strict=True) if place.field == label else None
            if value is not None and value.span is not None and is_address(place.word):
                value = self._going_on(leaf, value, value.span, self._page.index_at(place.line.start))
            found += [] if value is None else [value]
        return found

    def _dates(self, leaf: Leaf) -> list[Value]:
        """All dates but those that other labels have."""
        others = [
            span
            for line in self._page.lines
            for label in line.labels
            if label.field == "due_date"
            for span in [line.in_transcript((label.end, label.stop))]
        ]
        others += [p.line.in_transcript(p.region) for p in self._places if p.field == "due_date"]
        spans = [
            line.in_transcript((date.start, date.end))
            for line in self._page.lines
            for date in line.dates
            if not date.compact and not date.glued
        ]
        free = [span for span in spans if not any(start <= span[0] and span[1] <= end for start, end in others)]
        apart = [span for span in free if not self._is_beside_amount(span)]  # those of items are not the page's
        free = apart or free
        return [value for span in free if (value := self.value(leaf, [span])) is not None]

    def _is_beside_amount(self, span: Span) -> bool:
        line = self._page.lines[self._page.index_at(span[0])]
        return any(number.amount for number in line.numbers)

    def _currencies(self) -> list[Value]:
        """The sign or code at the total, else at the first other amount."""
        total = self.option("total")
        found: list[tuple[bool, Span]] = []
        for line in self._page.lines:
            for number in line.numbers:
                if number.currency is not None:
                    place = line.in_transcript((number.start, number.end))
                    at_total = total is not None and total.value.span == place
                    found.append((at_total, line.in_transcript(number.currency)))
        chosen = [span for at_total, span in found if at_total] or [span for _, span in found]
        return [Value(self._page.shown(span), span) for span in chosen[:1]]

    def _with_more(self, leaf: Leaf, value: Value, index: int, label: Label) -> Value:
        """An address with the lines on which it goes on."""
        if value.span is None or leaf.kind != "string":
            return value
        line = self._page.lines[index]
        if not is_address(line.folded[label.start : label.end]):
            return value
        return self._going_on(leaf, value, value.span, index)

    def _going_on(self, leaf: Leaf, value: Value, span: Span, index: int) -> Value:
        """An address that began on a line, with the lines below."""
        spans = [span]
        for below in self._page.lines[index + 1 : index + 1 + MAX_MORE]:
            if below.labels or below.sums or below.dates or re.search(r"[:@]", below.plain) or not below.text.strip():
                break
            if any(number.amount for number in below.numbers) or columns_of(below.folded):
                break
            spans.append(below.trimmed((0, len(below.text))))
        return self.value(leaf, spans) or value

    def _shaped(self, leaf: Leaf, line: TextLine, region: Span, shape: str, *, strict: bool) -> Value | None:
        """The part of a region of the line that has the shape; strict: little may come before it in the region."""
        if shape == "number":
            number = _number_in(line, region)
            span = (number.start, number.end) if number else None
            value = Value(number.value, line.in_transcript(span), others=number.others) if number and span else None
            return None if value is None else self.number(leaf, value)
        if shape in ("date", "code"):
            place = (_date_in if shape == "date" else _code_in)(line, region, strict)
        else:
            place = (_currency_in if shape == "currency" else _text_in)(line, region)
        return None if place is None else self.value(leaf, [line.trimmed(place)])


def readings(value: Value) -> list[Value]:
    """What a number may mean, each as a value."""
    assert isinstance(value.value, Decimal)
    return [Value(number, value.span) for number in (value.value, *value.others)]


def _is_too_common(line: TextLine, label: Label) -> bool:
    word = line.folded[label.start : label.end].strip()
    return word in NEEDS_COLON


def _distinct(values: Sequence[Value]) -> list[Value]:
    """Without values that repeat; the first place of each is its span."""
    return list({value.literal: value for value in reversed(values)}.values())[::-1]


# --- shapes ----------------------------------------------------------------------------------------------------------


def _number_in(line: TextLine, region: Span) -> Number | None:
    start, end = region
    inside = [number for number in line.numbers if start <= number.start and number.end <= end and not number.percent]
    return next((number for number in inside if not number.code), None)


def _text_in(line: TextLine, region: Span) -> Span | None:
    start, end = _first_line(line, region)
    cell = re.compile(r"[\s]*[^\t]*").match(line.text, start, end)
    end = cell.end() if cell else end
    return (start, end) if re.search(r"\w", line.text[start:end]) else None


def _first_line(line: TextLine, region: Span) -> Span:
    """The region without an amount below that was joined to the line."""
    start, end = region
    return start, min(end, start + len(line.text[start:end].split("\n", 1)[0]))


def _currency_in(line: TextLine, region: Span) -> Span | None:
    mark = re.match(after_number(), line.plain[slice(*region)])
    return None if mark is None else (region[0], region[0] + mark.end())


def _date_in(line: TextLine, region: Span, strict: bool) -> Span | None:
    start, end = region
    for date in line.dates:
        if start <= date.start and date.end <= end and (not date.glued or date.start == start):
            return None if strict and re.search(r"\w", line.text[start : date.start]) else (date.start, date.end)
    return None


def _code_in(line: TextLine, region: Span, strict: bool) -> Span | None:
    """The first word with a digit that is no date, and the words of digits after it; strict: the first word of all."""
    start, end = _first_line(line, region)
    if line.folded[:start].strip(OPENING + ":#.") in TITLES and not re.search(r"[:#]", line.folded[:start]):
        strict = True
    dated = [(date.start, date.end) for date in line.dates if not date.compact]
    words = [match.span() for match in re.finditer(r"[^\s,;()]+(?:\([^\s()]*\)[^\s,;()]*)*", line.text[start:end])]
    spans = [(start + a, start + b) for a, b in words]
    for index, (first, last) in enumerate(spans):
        word = line.plain[first:last]
        if any(a <= first < b for a, b in dated):
            return None
        if re.search(r"\d", word):
            begin = first
            if index and re.fullmatch(r"[A-Z]{1,4}[-/.]?", line.plain[slice(*spans[index - 1])]):
                begin = spans[index - 1][0]
            return begin, _code_end(line, spans[index:], dated)
        if line.folded[first:last].strip(".:#º") in NUMBER_WORDS:
            continue
        prefix = re.fullmatch(r"[A-Z]{1,4}[-/.]?", word) and index + 1 < len(spans)
        if strict and not (prefix and re.match(r"\d", line.plain[slice(*spans[index + 1])])):
            return None
    return None


def _code_end(line: TextLine, spans: Sequence[Span], dated: Sequence[Span]) -> int:
    """The end of a number that is printed with blanks."""
    end = spans[0][1]
    for first, last in spans[1:]:
        word = line.plain[first:last].rstrip(".")
        if not re.fullmatch(r"[\d/-]+", word) or any(a <= first < b for a, b in dated) or first - end > 1:
            break
        end = last
    while line.text[end - 1] in ".,;:()":
        end -= 1
    return end
