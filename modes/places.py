"""Places of the values of labels: below them, or as far along a row or block as the labels are along theirs."""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from modes.columns import columns_of
from modes.labels import Label
from modes.page import SUMS, PageText, Span, TextLine
from modes.sum_labels import SumLabel, sum_label

MAX_BLOCK = 12  # labels below each other whose values are a block of their own
SHAPES = {"date": "date", "due_date": "date", "invoice_number": "code", "currency": "currency"}
TITLES = frozenset("invoice bill rechnung facture factura fattura fatura factuur faktura".split())


@dataclass(frozen=True)
class Place:
    """A region of a line that holds the value of a label."""

    field: str
    line: TextLine
    region: Span
    word: str  # the label as printed, folded


@dataclass(frozen=True)
class PlacedSum:
    """A label of a sum whose value is elsewhere than after it."""

    label: SumLabel
    line: TextLine
    region: Span


@dataclass(frozen=True)
class _Target:
    """A label in a row or block of labels."""

    field: str  # "" for one that no schema asks for
    label: SumLabel | None = None
    word: str = ""  # as printed, folded

    @property
    def shape(self) -> str:
        return "amount" if self.label is not None else SHAPES.get(self.field, "text")


def after(page: PageText, field: str) -> Iterator[tuple[TextLine, Label]]:
    """The labels of a field that have something after them, with their lines."""
    for line in page.lines:
        for label in line.labels:
            if label.field == field:
                yield line, label


def elsewhere(page: PageText) -> tuple[list[Place], list[PlacedSum]]:
    """The values of labels that have nothing after them."""
    places: list[Place] = []
    sums: list[PlacedSum] = []
    taken: set[int] = set()
    alone = cache(lambda index: _alone(page, page.lines[index]))  # a line is asked for by all blocks that it may be in
    for index in range(len(page.lines)):
        if index in taken:
            continue
        for target, line, region in _row(page, index) or _block(page, index, taken, alone) or _below(page, index):
            if target.label is not None:
                sums.append(PlacedSum(target.label, line, region))
            elif target.field:
                places.append(Place(target.field, line, region, target.word))
    return places, sums


# --- rows ------------------------------------------------------------------------------------------------------------


def _row(page: PageText, index: int) -> list[tuple[_Target, TextLine, Span]]:
    """A row of labels over a row of values."""
    line = page.lines[index]
    if index + 1 >= len(page.lines) or line.numbers or line.dates or "name" in columns_of(line.folded):
        return []
    values = page.lines[index + 1]
    if values.labels or values.sums:
        return []
    cells, below = _cells(line.text), _cells(values.text)
    if len(cells) > 1:
        targets = [_target(page, line.folded[slice(*cell)]) for cell in cells]
        known = sum(target is not None for target in targets)
        if known > 1 and len(cells) == len(below):
            regions = zip(targets, below, strict=True)
            return [(target, values, region) for target, region in regions if target and region[0] < region[1]]
    covering = _covering(page, line.folded, values)
    return list(_dealt(covering, values)) if len(covering) > 1 else []


def _cells(text: str) -> list[Span]:
    """The cells of a line that tabs part, without their edges; an outer one that is empty is none."""
    edges = [-1, *(match.start() for match in re.finditer("\t", text)), len(text)]
    return [(start + 1, end) for start, end in itertools.pairwise(edges)]


def _target(page: PageText, folded: str) -> _Target | None:
    words = folded.strip(" :.#")
    row = page.labels.row(words) if words else []
    if len(row) == 1:
        return _Target(row[0][0], word=words)
    label = sum_label(words)
    return _Target("", label) if label is not None and label.kind in SUMS and label.rank > 0 else None


def _covering(page: PageText, folded: str, values: TextLine) -> list[_Target]:
    """The labels of a line that is nothing but labels."""
    fields = page.labels.row(folded)
    if len(fields) > 1:
        return [_Target(field) for field, _, _ in fields]
    words = folded.split()
    amounts = [number for number in values.numbers if number.amount]
    if "%" in folded or any(number.percent for number in values.numbers):
        return []  # a table of taxes by rate
    return _parted(words, len(amounts)) if 1 < len(amounts) <= len(words) <= MAX_BLOCK else []


def _parted(words: Sequence[str], count: int) -> list[_Target]:
    """Words as so many labels of different sums; empty where they cannot be."""
    if count == 0 or len(words) < count:
        return []
    for size in range(1, len(words) - count + 2):
        label = sum_label(" ".join(words[:size]))
        if label is None or label.kind not in SUMS or label.rank == 0:
            continue
        rest = _parted(words[size:], count - 1)
        kinds = {target.label.kind for target in rest if target.label is not None}
        if (count == 1 and size == len(words)) or (rest and label.kind not in kinds):
            return [_Target("", label), *rest]
    return []


def _dealt(targets: Sequence[_Target], line: TextLine) -> Iterator[tuple[_Target, TextLine, Span]]:
    """The parts of a line of values, in the order of their labels and as their shapes demand."""
    place = 0
    for index, target in enumerate(targets):
        found = _next_of(target.shape, line, place)
        if target.shape == "text":
            ahead = [_next_of(other.shape, line, place + 1) for other in targets[index + 1 :] if other.shape != "text"]
            end = next((span[0] for span in ahead if span), len(line.text))
            found = (place, end) if line.text[place:end].strip() else None
        if found is None:
            return
        yield target, line, found
        place = found[1]


def _next_of(shape: str, line: TextLine, place: int) -> Span | None:
    """The first part of a line from a place on that has a shape."""
    if shape == "date":
        return next(((date.start, date.end) for date in line.dates if date.start >= place), None)
    if shape == "amount":
        return next((number.whole for number in line.numbers if number.start >= place and not number.percent), None)
    if shape == "code":
        dated = [(date.start, date.end) for date in line.dates if not date.compact]
        for word in re.finditer(r"\S*\d\S*", line.text[place:]):
            span = place + word.start(), place + word.end()
            if not any(start < span[1] and span[0] < end for start, end in dated):
                return span
    return None


# --- blocks ----------------------------------------------------------------------------------------------------------


def _block(
    page: PageText, index: int, taken: set[int], alone: Callable[[int], _Target | None]
) -> list[tuple[_Target, TextLine, Span]]:
    """Labels below each other, each alone on its line, and their values below each other.

    `alone`: the label that a line consists of.
    """
    targets: list[_Target] = []
    for place in range(index, min(index + MAX_BLOCK, len(page.lines))):
        target = alone(place)
        if target is None and targets and _is_between_labels(page, place, alone):
            target = _Target("")
        if target is None:
            break
        targets.append(target)
    below = range(index + len(targets), min(index + 2 * len(targets), len(page.lines)))
    values = [page.lines[place] for place in below]
    if len(targets) < 2 or len(values) < len(targets) or any(map(alone, below)) or any(line.sums for line in values):
        return []
    found = []
    for target, line in zip(targets, values, strict=True):
        region = 0, len(line.text)
        if line.labels or not _fits(target.shape, line):
            return []
        found.append((target, line, region))
    taken.update(range(index, index + len(targets)))
    return found


def _is_between_labels(page: PageText, index: int, alone: Callable[[int], _Target | None]) -> bool:
    """Whether a line of words stands right before a line that is a label: an unknown label among others."""
    line = page.lines[index]
    words = line.is_words and not line.numbers and not line.sums and len(line.text.split()) < 5
    return words and index + 1 < len(page.lines) and alone(index + 1) is not None


def _alone(page: PageText, line: TextLine) -> _Target | None:
    """The label that a line consists of."""
    words = line.folded.strip()
    if words.strip(" :") in TITLES or re.search(r"\d", words):
        return None
    target = _target(page, line.folded)
    if target is None and re.fullmatch(r"[^\W\d][^:]{0,40}:", words):
        return _Target("")
    return target


def _fits(shape: str, line: TextLine) -> bool:
    if shape == "amount":
        numbers = [number for number in line.numbers if not number.percent and not number.code]
        return len(numbers) == 1 and not re.search(r"[^\W\d_]{4}", line.text)
    if shape == "date":
        return len(line.dates) == 1
    return shape == "text" or bool(re.search(r"\d", line.text) and not line.dates)


def _below(page: PageText, index: int) -> list[tuple[_Target, TextLine, Span]]:
    """The line below a label that has nothing after it."""
    line = page.lines[index]
    if index + 1 >= len(page.lines) or line.folded.strip(" :#") in TITLES:
        return []
    below = page.lines[index + 1]
    if below.sums or (below.labels and below.labels[0].start == 0):
        return []
    alone = [own for own in line.labels if line.text[own.end :].strip(" :#\t_") == ""]
    if alone:
        word = line.folded[alone[-1].start : alone[-1].end]
        return [(_Target(alone[-1].field, word=word), below, (0, len(below.text)))]
    if line.sums and not line.sums[-1].numbers and _fits("amount", below):
        return [(_Target("", line.sums[-1].label), below, (0, len(below.text)))]
    return []
