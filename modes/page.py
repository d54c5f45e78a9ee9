"""A transcript as extraction reads it: lines with their labels, numbers, dates and sums."""

import bisect
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from modes.columns import COLUMN_HEADS, HEADS
from modes.labels import Label, Labels
from modes.printed.dates import Date, dates, day_first
from modes.printed.numbers import Number, numbers
from modes.printed.style import Style, style_of
from modes.printed.text import Views, views_of
from modes.sum_labels import SumLabel, sum_label
from modes.wording import key_of

Span = tuple[int, int]
"""A run of a text: [start, end)."""

SUMS = ("subtotal", "tax", "total")
MAX_PARTS = 40  # numbers of a line that are looked at as parts of sums
MAX_LINE = 2000  # characters; a longer line is cut between words, so that work grows with the text and no faster
CHUNK = re.compile(r"\s+|\w+(?:[^\w\s]+\w+)*|[^\w\s]+")
"""Whitespace, words with the marks inside them (`O'Brien`, `12.50`), other marks: what a value is made of."""
_PIECE = re.compile(rf"[^\n]{{1,{MAX_LINE}}}(?:(?=\s)|(?<=[\s。、；])|\Z)")
_WORD = re.compile(r"\S+")
_EDGES = " \t\n\u00a0:：;,|"
_COUNTED = re.compile(
    r"\s?(?:x|×|items?|articles?|artikel|guests?|persons?|pcs|positionen|pezzi|uds|art\b|点|件|개)", re.I
)


@dataclass(frozen=True)
class SumPart:
    """A label of a sum on a line with the numbers that follow it."""

    label: SumLabel
    start: int  # start of the label, on its line
    end: int
    numbers: list[Number]
    rates: list[Number]  # percentages in the label


@dataclass(frozen=True)
class TextLine:
    """A line of a transcript, with all that was recognised on it; spans on the line count from its start."""

    start: int  # in the transcript
    text: str  # as shown
    plain: str
    folded: str
    labels: list[Label]
    dates: list[Date]
    numbers: list[Number]
    sums: list[SumPart]

    def in_transcript(self, span: Span) -> Span:
        """A span on the line as a span of the transcript."""
        return self.start + span[0], self.start + span[1]

    def trimmed(self, span: Span) -> Span:
        """The same, without the whitespace and marks around it."""
        start, end = span
        while start < end and self.text[start] in _EDGES:
            start += 1
        while end > start and self.text[end - 1] in _EDGES:
            end -= 1
        return self.in_transcript((start, end))

    @property
    def is_words(self) -> bool:
        """Whether it has words, and neither a number of money nor a date."""
        worded = re.search(r"[^\W\d_]{2}|[^\W\d_]$", self.text.strip()) is not None
        return worded and not self.dates and not any(number.amount for number in self.numbers)


@dataclass
class PageText:
    """A transcript and its lines."""

    text: str  # the transcript
    views: Views
    style: Style
    labels: Labels
    languages: Counter[str]  # labels by language
    day_first: bool | None = None
    lines: list[TextLine] = field(default_factory=list)

    def index_at(self, place: int) -> int:
        """The index of the line at a place in the transcript."""
        return bisect.bisect_right(self.lines, place, key=lambda line: line.start) - 1

    def shown(self, span: Span) -> str:
        """The text of a span with single blanks, without Markdown's marks."""
        return " ".join(self.views.shown[slice(*span)].split())


def read_page(text: str, labels: Labels, style: Style | None = None) -> PageText:
    """The lines of a transcript. `style`: of its numbers; by default the one that the page shows."""
    views = views_of(text)
    spans = list(_spans(views.plain))
    spoken, tails = _first_look(views, spans, labels)
    style = style or style_of([views.plain[slice(*span)] for span in spans], tails, spoken)
    page = PageText(text, views, style, labels, spoken)
    for start, end in _joined(views.plain, spans, style):
        page.lines.append(_line(views, start, end, page))
    page.day_first = day_first((date for line in page.lines for date in line.dates), spoken)
    return page


def _line(views: Views, start: int, end: int, page: PageText) -> TextLine:
    shown, plain, folded = (view[start:end] for view in (views.shown, views.plain, views.folded))
    found = dates(folded)
    values = numbers(plain, page.style, found)
    labels = page.labels.on(folded, shown, {date.start for date in found})
    return TextLine(start, shown, plain, folded, labels, found, values, sum_parts(folded, values))


def _spans(plain: str) -> Iterator[Span]:
    """Lines with a letter, digit or box to tick. Left out: words longer than MAX_LINE, of which a part may mislead."""
    for line in re.finditer(r"[^\n]+", plain):
        place, end = line.span()
        while place < end:
            piece = _PIECE.match(plain, place, end)
            place = piece.end() if piece else _WORD.match(plain, place, end).end()  # type: ignore[union-attr]
            if piece and re.search(r"[\w☐☑☒✓✗□■]", piece[0]):
                yield piece.span()


def _first_look(views: Views, spans: list[Span], labels: Labels) -> tuple[Counter[str], list[str]]:
    """The languages of the page's labels, and what follows the labels of its sums."""
    spoken: Counter[str] = Counter()
    tails = []
    for start, end in spans:
        folded, plain = views.folded[start:end], views.plain[start:end]
        for label in labels.on(folded, views.shown[start:end]):
            spoken.update(set(label.languages))
        first = re.search(r"\d", folded)
        head = folded[: first.start()] if first else folded
        heads = set(COLUMN_HEADS.findall(folded)) if first is None else ()
        if len(heads) > 1:
            spoken.update(language for head in heads for language in HEADS[key_of(head)][1])
        found = sum_label(head)
        if found is not None:
            spoken.update(set(found.languages))
            tails += [plain[len(head) :]] if found.kind in SUMS else []
    return spoken, tails


def sum_parts(folded: str, values: list[Number]) -> list[SumPart]:
    """The sums of a line: labels, each with the numbers up to the next label."""
    found: list[SumPart] = []
    place, rates = 0, []
    for number in [*values[:MAX_PARTS], None]:
        if number is not None and (number.percent or number.code or _is_aside(folded, number)):
            rates += [number] if number.percent else []
            continue
        end = len(folded) if number is None else number.whole[0]
        head = folded[place:end]
        label = sum_label(head) if number is not None or not found else None
        if label is not None:
            found.append(SumPart(label, place, end, [], rates))
            rates = []
        elif not found and re.search(r"[^\W\d_]", head):
            return []  # the line begins with something else
        elif re.search(r"[^\W\d_]{3}", head) and number is not None:
            break
        if number is not None and found:
            found[-1].numbers.append(number)
        place = place if number is None else number.whole[1]
    return found


def _is_aside(folded: str, number: Number) -> bool:
    """Whether a number of a label is a count (`Total (3 items)`) or numbers the label (`Tax 1`)."""
    return not number.amount and _COUNTED.match(folded, number.end) is not None


def _joined(plain: str, spans: list[Span], style: Style) -> Iterator[Span]:
    """Lines, with one that is only an amount joined to the line before: their gap was taken for a line's end.

    Two such lines in a row are the values of a block of labels, and stay apart.
    """
    alone = [_is_amount(plain[start:end], style) for start, end in spans]

    def joins(before: Span, index: int) -> bool:
        block = alone[index] and (alone[index - 1 : index] == [True] or alone[index + 1 : index + 2] == [True])
        return alone[index] and not block and not _has_amount(plain[slice(*before)], style)

    return merged(spans, joins)


def merged(spans: Sequence[Span], joins: Callable[[Span, int], bool]) -> Iterator[Span]:
    """Spans, as one with what is before them where `joins` says so of that and of a span's index."""
    waiting: Span | None = None
    for index, (start, end) in enumerate(spans):
        if waiting is not None and joins(waiting, index):
            waiting = waiting[0], end
            continue
        if waiting is not None:
            yield waiting
        waiting = start, end
    if waiting is not None:
        yield waiting


def _has_amount(plain: str, style: Style) -> bool:
    return any(number.amount for number in numbers(plain, style))


def _is_amount(plain: str, style: Style) -> bool:
    """Whether a text is an amount, with its currency and without words."""
    found = numbers(plain, style)
    if len(found) != 1 or not found[0].amount:
        return False
    start, end = found[0].whole
    return not re.search(r"\w", plain[:start] + plain[end:])
