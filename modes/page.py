"""A transcript as extraction reads it: lines with their labels, numbers and dates, rows of items, pairs of a form."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from modes.labels import COLUMNS, NEXT_LABEL, Label, Labels, one_of
from modes.values import Number, dates, decimal_mark, numbers

Span = tuple[int, int]
"""A run of a text: [start, end)."""

SUMS = ("subtotal", "tax", "total")
COLUMN_HEADS = one_of(head for heads in COLUMNS.values() for head in heads)
TITLE = re.compile(r"\b(?:tax invoice|invoice|receipt|sales receipt|bill|收据|小票|发票)$", re.IGNORECASE)
COUNT_FIRST = re.compile(r"(\d{1,4})\s?[x×*]?\s+(?=\S*[^\W\d])", re.IGNORECASE)
COUNT_LAST = re.compile(r"(?:\s[x×*]\s?(\d{1,4})|(?:\s|^)(\d{1,4})\s?[x×*]?)$", re.IGNORECASE)
PAIR = re.compile(r"(?P<label>[^\W\d][^:：]{0,40}?)\s?(?<!\d)[:：](?!//)\s*(?P<value>.*)")
CHUNK = re.compile(r"\s+|\w+(?:[^\w\s]+\w+)*|[^\w\s]+")
"""Whitespace, words with the marks inside them (`O'Brien`, `12.50`), other marks: what a value is made of."""


@dataclass(frozen=True)
class TextLine:
    """A line of a transcript, with all that was recognised on it; spans on the line count from its start."""

    start: int  # in the transcript
    text: str
    labels: list[Label]
    numbers: list[Number]
    dates: list[Span]

    def in_transcript(self, span: Span) -> Span:
        """A span on the line as a span of the transcript."""
        return self.start + span[0], self.start + span[1]

    def trimmed(self, span: Span) -> Span:
        """The same, without the whitespace and marks around it."""
        start, end = span
        while start < end and self.text[start] in " \t\n:：;,|":
            start += 1
        while end > start and self.text[end - 1] in " \t\n:：;,|":
            end -= 1
        return self.in_transcript((start, end))


@dataclass(frozen=True)
class ItemRow:
    """An item of a receipt or invoice: the transcript's span of each part, None for a part that is not printed."""

    name: Span
    quantity: Span | None
    unit_price: Span | None
    amount: Span


@dataclass
class PageText:
    """A transcript and its lines."""

    text: str
    mark: str  # decimal mark
    lines: list[TextLine] = field(default_factory=list)


def read_page(text: str, labels: Labels) -> PageText:
    page = PageText(text, decimal_mark(text))
    for start, line in _lines(text, page.mark):
        page.lines.append(TextLine(start, line, labels.on(line), numbers(line, page.mark), dates(line)))
    return page


def _lines(text: str, mark: str) -> Iterator[tuple[int, str]]:
    """Lines with a letter or digit, and where they start.

    A line that is only an amount is joined to the line before: the model took the gap between them for a line's end.
    """
    waiting: Span | None = None
    for match in re.finditer(r"[^\n]+", text):
        if not re.search(r"\w", match[0]):
            continue
        priced = waiting is not None and any(number.amount for number in numbers(text[slice(*waiting)], mark))
        if waiting is not None and not priced and _is_amount(match[0], mark):
            waiting = waiting[0], match.end()
            continue
        if waiting is not None:
            yield waiting[0], text[slice(*waiting)]
        waiting = match.span()
    if waiting is not None:
        yield waiting[0], text[slice(*waiting)]


def _is_amount(text: str, mark: str) -> bool:
    """Whether a text is an amount, with its currency and without words."""
    found = numbers(text, mark)
    if len(found) != 1 or not found[0].amount:
        return False
    start, end = found[0].start, found[0].end
    mark_start, mark_end = found[0].currency or (start, end)
    return not re.search(r"\w", text[: min(start, mark_start)] + text[max(end, mark_end) :])


def title_line(page: PageText) -> Span | None:
    """The name at the top: the first line with letters that is neither a label nor just the kind of document."""
    for line in page.lines:
        top = line.text.split("\n")[0].rstrip()
        end = len(TITLE.sub("", top))
        if line.labels and line.labels[0].start == 0 and line.labels[0].field != "invoice_number":
            continue
        if re.search(r"[^\W\d]{2}", line.text[:end]):
            return line.trimmed((0, end))
    return None


# --- items ----------------------------------------------------------------------------------------------------------


def item_rows(page: PageText) -> list[ItemRow]:
    """The items: lines that end with an amount, below the column heads if there are any, and above the sums."""
    first, heads = 0, False
    for index, line in enumerate(page.lines):
        if len(COLUMN_HEADS.findall(line.text)) >= 2 and not line.numbers:
            first, heads = index + 1, True
            break
    decimals = any(number.amount for line in page.lines for number in line.numbers)
    found = []
    for above, line in zip([None, *page.lines[first:]], page.lines[first:], strict=False):
        if any(label.field in SUMS and _is_sum(line, label) for label in line.labels):
            break
        row = _row(page, line, above, heads=heads, whole=heads and not decimals)
        if row is not None:
            found.append(row)
    return found


def _is_sum(line: TextLine, label: Label) -> bool:
    """Whether an amount follows a label: for a tax with at most a rate between, as `Tax software` may be an item."""
    start, end = label.end, label.stop
    inside = [number for number in line.numbers if not number.percent and start <= number.start < end]
    if not inside:
        return line.text[start:end].strip() == ""
    between = line.text[start : inside[-1].start]
    return label.field == "total" or not re.search(r"[^\W\d_]{4,}", between)


def _row(page: PageText, line: TextLine, above: TextLine | None, *, heads: bool, whole: bool) -> ItemRow | None:
    """The item on a line, None if there is none.

    `heads`: the columns have heads, so a number after the name is a count; `whole`: prices may have no decimals.
    """
    last = line.numbers[-1] if line.numbers else None
    if last is None or last.percent or not (last.amount or whole):
        return None
    if line.dates or re.search(r"[^\W\d]{4}", line.text[last.end :]) or any(own.field == "paid" for own in line.labels):
        return None
    end = _before(last)
    unit = next((number for number in reversed(line.numbers[:-1]) if number.amount), None)
    if unit is not None and re.search(r"[^\W\d]{2}", line.text[unit.end : end].replace("x", "")):
        unit = None  # there are words between them: it is part of the name
    if unit is not None:
        end = _before(unit)
    count, name = _count_and_name(line, end, heads or unit is not None)
    named = line.trimmed(name)
    if not re.search(r"[^\W\d]", page.text[slice(*named)]):
        if above is None or above.labels or above.dates or any(number.amount for number in above.numbers) or not heads:
            return None
        named = above.trimmed((0, len(above.text)))  # a long name fills the line above
    return ItemRow(
        named,
        None if count is None else line.in_transcript(count),
        None if unit is None else line.in_transcript((unit.start, unit.end)),
        line.in_transcript((last.start, last.end)),
    )


def _count_and_name(line: TextLine, end: int, counted: bool) -> tuple[Span | None, Span]:
    """The count and the name in the text before an item's prices. `counted`: a bare number at its end is a count."""
    text = line.text[:end].rstrip(" @")
    if first := COUNT_FIRST.match(text):
        return first.span(1), (first.end(), len(text))
    final = COUNT_LAST.search(text)
    if final and (counted or final[1]):
        return final.span(1 if final[1] else 2), (0, final.start())
    return None, (0, len(text))


def _before(number: Number) -> int:
    """Start of a number with its currency."""
    if number.currency is not None and number.currency[0] < number.start:
        return number.currency[0]
    return number.start


# --- forms ----------------------------------------------------------------------------------------------------------


def label_pairs(page: PageText) -> list[tuple[Span, Span | None]]:
    """Labels that end with a colon, with their values: on the same line, else on the next if that is no label."""
    found: list[tuple[Span, Span | None]] = []
    for line, below in zip(page.lines, [*page.lines[1:], None], strict=False):
        for start, end in _pieces(line):
            match = PAIR.match(line.text, start, end)
            if match is None:
                continue
            value: Span | None = line.trimmed(match.span("value"))
            if match["value"].strip() == "":
                alone = below is not None and not below.labels and end == len(line.text) and not PAIR.match(below.text)
                value = below.trimmed((0, len(below.text))) if below is not None and alone else None
            found.append((line.trimmed(match.span("label")), value))
    return found


def _pieces(line: TextLine) -> list[Span]:
    """The pairs of a line: it is split before each further label with a colon."""
    starts = [0, *(match.end() for match in NEXT_LABEL.finditer(line.text) if PAIR.match(line.text[: match.start()]))]
    return list(zip(starts, [*starts[1:], len(line.text)], strict=True))
