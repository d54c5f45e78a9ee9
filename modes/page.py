"""A transcript read for extraction: lines with their labels, numbers and dates, rows of items, pairs of a form."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from modes.labels import COLUMNS, NEXT_LABEL, Label, Labels, one_of
from modes.values import Number, dates, decimal_mark, numbers

Span = tuple[int, int]
"""A run of the transcript: [start, end)."""

SUMS = ("subtotal", "tax", "total")
COLUMN_HEADS = one_of(head for heads in COLUMNS.values() for head in heads)
TITLE = re.compile(r"\b(?:tax invoice|invoice|receipt|sales receipt|bill|收据|小票|发票)$", re.IGNORECASE)
COUNT_FIRST = re.compile(r"(\d{1,4})\s?[x×*]?\s+(?=\S*[^\W\d])", re.IGNORECASE)
COUNT_LAST = re.compile(r"(?:\s[x×*]\s?(\d{1,4})|(?:\s|^)(\d{1,4})\s?[x×*]?)$", re.IGNORECASE)
PAIR = re.compile(r"(?P<label>[^\W\d][^:：]{0,40}?)\s?(?<!\d)[:：](?!//)\s*(?P<value>.*)")


@dataclass(frozen=True)
class TextLine:
    """A line of the transcript with what is found on it."""

    start: int  # in the transcript
    text: str
    labels: list[Label]
    numbers: list[Number]
    dates: list[Span]

    def at(self, span: Span) -> Span:
        """A run of the line as a run of the transcript, without the spaces and marks around it."""
        start, end = span
        while start < end and self.text[start] in " \t\n:：;,|":
            start += 1
        while end > start and self.text[end - 1] in " \t\n:：;,|":
            end -= 1
        return self.start + start, self.start + end


@dataclass(frozen=True)
class ItemRow:
    """An item of a receipt or invoice: the run of each part in the transcript, None if it is not printed."""

    name: Span
    quantity: Span | None
    unit_price: Span | None
    amount: Span


@dataclass
class PageText:
    """A transcript with its lines."""

    text: str
    mark: str  # the decimal mark
    lines: list[TextLine] = field(default_factory=list)


def read_page(text: str, labels: Labels) -> PageText:
    page = PageText(text, decimal_mark(text))
    for start, own in _lines(text, page.mark):
        page.lines.append(TextLine(start, own, labels.on(own), numbers(own, page.mark), dates(own)))
    return page


def _lines(text: str, mark: str) -> Iterator[tuple[int, str]]:
    """Lines with text. An amount alone on a line belongs to the line before: the model took a gap for a line end."""
    waiting: tuple[int, int] | None = None
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
    """Whether the text is an amount with its currency and no other word."""
    found = numbers(text, mark)
    if len(found) != 1 or not found[0].amount:
        return False
    start, end = found[0].start, found[0].end
    mark_start, mark_end = found[0].currency or (start, end)
    return not re.search(r"\w", text[: min(start, mark_start)] + text[max(end, mark_end) :])


def title_line(page: PageText) -> Span | None:
    """The name at the top: the first line with letters that is neither a label nor only the kind of document."""
    for line in page.lines:
        top = line.text.split("\n")[0].rstrip()
        end = len(TITLE.sub("", top))
        if line.labels and line.labels[0].start == 0 and line.labels[0].field != "invoice_number":
            continue
        if re.search(r"[^\W\d]{2}", line.text[:end]):
            return line.at((0, end))
    return None


# --- items ----------------------------------------------------------------------------------------------------------


def rows(page: PageText) -> list[ItemRow]:
    """Items: lines that end with an amount, below the column heads if there are any, above the sums."""
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
    """A label of a sum with its amount; a tax with nothing but a rate between them: `Tax software` may be an item."""
    start, end = label.end, label.stop
    inside = [number for number in line.numbers if not number.percent and start <= number.start < end]
    if not inside:
        return line.text[start:end].strip() == ""
    between = line.text[start : inside[-1].start]
    return label.field == "total" or not re.search(r"[^\W\d_]{4,}", between)


def _row(page: PageText, line: TextLine, above: TextLine | None, *, heads: bool, whole: bool) -> ItemRow | None:
    """The item of a line. `heads`: a number after the name is a count; `whole`: prices may be whole."""
    last = line.numbers[-1] if line.numbers else None
    if last is None or last.percent or not (last.amount or whole):
        return None
    if line.dates or re.search(r"[^\W\d]{4}", line.text[last.end :]) or any(own.field == "paid" for own in line.labels):
        return None
    end = _before(last)
    unit = next((number for number in reversed(line.numbers[:-1]) if number.amount), None)
    if unit is not None and re.search(r"[^\W\d]{2}", line.text[unit.end : end].replace("x", "")):
        unit = None  # words between them: it is part of the name
    if unit is not None:
        end = _before(unit)
    count, name = _count_and_name(line, end, heads or unit is not None)
    place = line.start
    named = line.at(name)
    if not re.search(r"[^\W\d]", page.text[slice(*named)]):
        if above is None or above.labels or above.dates or any(number.amount for number in above.numbers) or not heads:
            return None
        named = above.at((0, len(above.text)))  # a long name fills the line above
    return ItemRow(
        named,
        None if count is None else (place + count[0], place + count[1]),
        None if unit is None else (place + unit.start, place + unit.end),
        (place + last.start, place + last.end),
    )


def _count_and_name(line: TextLine, end: int, counted: bool) -> tuple[Span | None, Span]:
    """Count and name in the text before an item's prices. `counted`: a bare number at its end is a count."""
    text = line.text[:end].rstrip(" @")
    if first := COUNT_FIRST.match(text):
        return first.span(1), (first.end(), len(text))
    final = COUNT_LAST.search(text)
    if final and (counted or final[1]):
        return final.span(1 if final[1] else 2), (0, final.start())
    return None, (0, len(text))


def _before(number: Number) -> int:
    """Start of a number, including the currency before it."""
    if number.currency is not None and number.currency[0] < number.start:
        return number.currency[0]
    return number.start


# --- forms ----------------------------------------------------------------------------------------------------------


def pairs(page: PageText) -> list[tuple[Span, Span | None]]:
    """Labels with a colon and their values: on the same line, or else on the next one if that is not a label."""
    found: list[tuple[Span, Span | None]] = []
    for line, below in zip(page.lines, [*page.lines[1:], None], strict=False):
        for start, end in _pieces(line):
            match = PAIR.match(line.text, start, end)
            if match is None:
                continue
            value: Span | None = line.at(match.span("value"))
            if match["value"].strip() == "":
                alone = below is not None and not below.labels and end == len(line.text) and not PAIR.match(below.text)
                value = below.at((0, len(below.text))) if below is not None and alone else None
            found.append((line.at(match.span("label")), value))
    return found


def _pieces(line: TextLine) -> list[Span]:
    """Runs of a form's line that hold one pair each: a further label with a colon begins the next."""
    starts = [0, *(match.end() for match in NEXT_LABEL.finditer(line.text) if PAIR.match(line.text[: match.start()]))]
    return list(zip(starts, [*starts[1:], len(line.text)], strict=True))
