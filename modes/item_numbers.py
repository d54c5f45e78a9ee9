"""The numbers of an item on its line: which is the quantity, which the unit price, which the amount."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache

from modes.page import Span, TextLine
from modes.printed.currencies import after_number, before_number
from modes.printed.numbers import Number
from modes.units import BETWEEN, UNITS
from modes.values import Value

MAX_COLUMNS = 7  # numbers at the end of a line that are looked at
TOLERANCE = Decimal("0.011")  # error of a product, as amounts are rounded
_FLAG = re.compile(r"\s*(?:[A-Za-z]{1,2}\d?|[*#+]|\d|[A-Z]\s?\*)?\s*(?:\)\s*)?$")
_LEADING = re.compile(
    r"(?P<count>\d{1,4}(?:[.,]\d{1,3})?)\s?(?P<mark>[x*×]|st\b|stk\b\.?|pcs\b)?(?P<point>[.)])?\s+(?=\S*[^\W\d])"
)
_NAMED = re.compile(
    r"\s*(?:\d{1,4}\s?(?:[x*@]\s?(?=[\d\s])|(?:[x*]\s?)?\s))?(?:[^\W\d_]{2}|[\u3040-\u9fff\uac00-\ud7af]|\S*\d)"
)
_TIMES = re.compile(r"[\s(]?[x*×@]\s?$")
_MISREAD = re.compile(r"(?<!\S)[^\w\s([+-]{1,2}\Z")
"""A mark between a blank and an amount, such as a digit or currency that was misread."""


@dataclass(frozen=True)
class Row:
    """What one line says of an item."""

    name: Span | None  # in the transcript
    amount: Value | None
    quantity: Value | None = None
    unit_price: Value | None = None
    unit: Span | None = None
    bare: bool = False
    dashed: bool = False
    wrapped: bool = False  # the amount stands on the next line

    def makes(self, amount: Value) -> bool:
        """Whether its quantity times its unit price is an amount."""
        numbers = [value.number for value in (self.quantity, self.unit_price, amount) if value is not None]
        return len(numbers) == 3 and None not in numbers and is_product(*numbers)  # type: ignore[arg-type]


def is_product(quantity: Decimal, unit_price: Decimal, amount: Decimal) -> bool:
    return abs(quantity * unit_price - amount) <= TOLERANCE


def row_on(line: TextLine, heads: Sequence[str], *, whole: bool = False) -> Row | None:
    """The item on a line; None if there is none.

    `heads`: the columns, where they have heads; `whole`: a number without decimals or a currency may be a price.
    """
    numbers = [number for number in line.numbers if not number.code]
    plain = [number for number in numbers if not number.percent]
    if not plain or not _ends_with(line, numbers):
        return None
    tail = _parted(line, _tail(line, plain))
    last = tail[-1]
    if not (last.amount or (whole and ("amount" in heads or _is_priced_whole(line, last)))):
        return None
    return _row(line, tail, heads)


def row_without_amount(line: TextLine, heads: Sequence[str]) -> Row | None:
    """The item on a line below heads whose amount was misread, such as a percentage; None if there is none."""
    numeric = [column for column in heads if column in ("quantity", "unit_price", "amount")]
    tail = [number for number in line.numbers if not number.code][-len(numeric) :]
    if numeric[-1:] != ["amount"] or len(tail) < max(2, len(numeric)) or not tail[-1].percent:
        return None
    gaps = [line.plain[one.end : other.start] for one, other in itertools.pairwise(tail)]
    if not _ends_with(line, tail) or any(gap.strip() for gap in gaps):
        return None
    named = dict(zip(numeric, tail, strict=True))
    return Row(
        _name(line, 0, tail[0].whole[0]), Value(None), _value(line, named.get("quantity")),
        _value(line, named.get("unit_price")), _unit(line, named.get("quantity")),
    )  # fmt: skip


def _ends_with(line: TextLine, numbers: list[Number]) -> bool:
    """Whether nothing but a mark of its tax follows the last number."""
    return (
        _FLAG.fullmatch(line.plain[numbers[-1].whole[1] + (1 if numbers[-1].percent else 0) :].replace("%", ""))
        is not None
    )


def _is_priced_whole(line: TextLine, last: Number) -> bool:
    """Whether a whole number without a currency may be a price: it ends a line that begins with a name or a count."""
    before = line.plain[: last.start]
    if abs(last.value) < 1 or last.value != last.value.to_integral() or re.search(r"[:#/]", before):
        return False
    return _NAMED.match(before) is not None


@cache
def _gap() -> re.Pattern[str]:
    words = "|".join(sorted(map(re.escape, [*UNITS, *BETWEEN]), key=len, reverse=True))
    return re.compile(
        rf"(?:\s|{before_number()}|{after_number()}|(?<![^\W\d_])(?i:{words})(?![^\W\d_])\.?|[\d.,]+\s?%|%|[/@x*×=():])*"
    )


def _tail(line: TextLine, numbers: list[Number]) -> list[Number]:
    """The numbers at the end of the line with nothing but units and signs between them."""
    found = [numbers[-1]]
    for number in reversed(numbers[:-1][-MAX_COLUMNS:]):
        between = line.plain[number.end : _begin(line, found[0])]
        if not _gap().fullmatch(between):
            break
        found.insert(0, number)
    return found


def _begin(line: TextLine, number: Number) -> int:
    """The start of a number with its currency, and with a mark that touches an amount."""
    start = number.whole[0]
    mark = _MISREAD.search(line.plain, max(0, start - 3), start) if number.amount else None
    return start if mark is None else mark.start()


def _parted(line: TextLine, tail: list[Number]) -> list[Number]:
    """The numbers at the end, where a blank may be in one or between two: so that they make each other."""
    if _makes(tail):
        return tail
    options = [tail]
    for first, number in zip([None, *tail[:-1]], tail, strict=True):
        parts = _parts(line, number) if number.split else []
        whole = _joined(line, first, number) if first is not None and not first.split else None
        for own in list(options):
            place = own.index(number) if number in own else None
            if place is not None and parts:
                options.append([*own[:place], *parts, *own[place + 1 :]])
            elif place is not None and whole is not None and first in own:
                options.append([*own[: place - 1], whole, *own[place + 1 :]])
    return next((option for option in options if _makes(option)), tail)


def _makes(tail: Sequence[Number]) -> bool:
    """Whether two of the numbers make the last."""
    return _product(tail[:-1], tail[-1], None) is not None


def _parts(line: TextLine, number: Number) -> list[Number]:
    """A number with one blank as the two that it may be."""
    text = line.plain[number.start : number.end]
    first, _, rest = text.partition(" ")
    if not first.isdigit() or " " in rest or number.value < 0:
        return []
    whole = Decimal(first)
    value = number.value - whole * 1000
    cut = number.start + len(first)
    head = Number(number.start, cut, whole, None, percent=False)
    last = replace(number, start=cut + 1, value=value, split=False)
    if number.currency is not None and number.currency[1] <= number.start:
        head, last = replace(head, currency=number.currency), replace(last, currency=None)
    return [head, last]


def _joined(line: TextLine, first: Number, second: Number) -> Number | None:
    """Two numbers with a blank between them as the one that they may be."""
    text = line.plain[first.start : second.end]
    if (
        not re.fullmatch(r"[1-9]\d{0,2} \d{3}(?:[.,]\d{2})?", text)
        or first.value < 0
        or re.search(r"[x×*]$", line.plain[: first.start].lower())
    ):
        return None
    value = first.value * 1000 + second.value
    return replace(second, start=first.start, value=value, split=True, currency=second.currency or first.currency)


def _row(line: TextLine, tail: list[Number], heads: Sequence[str]) -> Row | None:
    lead = _LEADING.match(line.plain, len(line.plain) - len(line.plain.lstrip()))
    first = next((n for n in line.numbers if lead and n.start == lead.start("count")), None)
    leads = first is not None and first is not tail[0] and not first.amount
    quantity, unit_price, used = _columns(line, tail, heads, first if leads else None)
    begin = min(_begin(line, number) for number in used)
    start = 0
    if leads and (quantity is first or _is_position(lead, heads)):  # type: ignore[arg-type]
        start = lead.end()  # type: ignore[union-attr]
    dated = next((date.end for date in line.dates if not line.text[: date.start].strip()), 0)
    name = _name(line, max(start, dated), begin)
    lone = quantity is not None and unit_price is None and len(tail) == 2 and name is None
    if lone and quantity is tail[0] and _TIMES.search(line.plain[quantity.end : tail[1].whole[0]]):
        return Row(None, None, _value(line, quantity), _value(line, tail[1]), _unit(line, quantity))
    amount = tail[-1]
    return Row(
        name, _value(line, amount), _value(line, quantity), _value(line, unit_price), _unit(line, quantity),
        bare=not amount.amount, dashed=amount.dash is not None, wrapped="\n" in line.text.strip(),
    )  # fmt: skip


def _is_position(lead: re.Match[str], heads: Sequence[str]) -> bool:
    return (bool(heads) and heads[0] == "position") or (lead["point"] is not None and "." not in lead["count"])


def _columns(
    line: TextLine, tail: list[Number], heads: Sequence[str], lead: Number | None
) -> tuple[Number | None, Number | None, list[Number]]:
    """Quantity, unit price, and the numbers at the end that are no part of the name."""
    amount, before = tail[-1], tail[:-1]
    if lead is not None and heads and heads[0] == "position":
        lead = None
    pair = _product(before, amount, lead)
    if pair is not None:
        count, each = pair
        rest = [number for number in before if number not in pair and number.start > pair[-1].start]
        return count, each, [*(own for own in pair if own is not lead), *rest, amount]
    if lead is not None and _marks_count(line, lead, heads):
        unit = before[-1] if before and before[-1].amount else None
        return lead, unit, [own for own in (unit, amount) if own is not None]
    if not before:
        return None, None, [amount]
    return _by_heads(line, before, amount, heads)


def _marks_count(line: TextLine, lead: Number, heads: Sequence[str]) -> bool:
    """Whether a number before the name counts it."""
    if re.match(r"\s?[x*×]\s", line.plain[lead.end :], re.IGNORECASE):
        return True
    if re.match(r"[.)]", line.plain[lead.end :]):
        return False
    return lead.value == lead.value.to_integral() and (not heads or "quantity" in heads[:1] or "quantity" not in heads)


def _by_heads(
    line: TextLine, before: list[Number], amount: Number, heads: Sequence[str]
) -> tuple[Number | None, Number | None, list[Number]]:
    """What the numbers before an amount are, where no product tells: by their columns, or by their looks."""
    numeric = [column for column in heads if column in ("quantity", "unit_price", "amount")]
    if len(numeric) == len(before) + 1 and numeric[-1] == "amount":
        named = dict(zip(numeric, before, strict=False))
        return named.get("quantity"), named.get("unit_price"), [*before, amount]
    last = before[-1]
    if last.amount:
        counts = [number for number in before[:-1] if _is_count(line, number, heads)]
        return (counts[-1] if counts else None), last, [*counts[-1:], last, amount]
    if _is_count(line, last, heads) and "quantity" not in heads[: heads.index("name") if "name" in heads else 0]:
        return last, None, [last, amount]
    return None, None, [amount]


def _is_count(line: TextLine, number: Number, heads: Sequence[str]) -> bool:
    """Whether a number after the name is a quantity: its column, its cell, its unit or a times sign says so."""
    before, after = line.plain[: number.start], line.plain[number.end :]
    signed = re.match(r"\s?[x*×@](?!\w)", after) or re.search(r"(?:\s|^)[x*×]\s?$", before)
    celled = re.match(r"\s*\t", after) and re.search(r"\t\s*$", before)
    return bool(signed or celled or "quantity" in heads or _is_measured(line, number))


def _is_measured(line: TextLine, number: Number) -> bool:
    """Whether a number has a unit and is weighed; round ones may be sizes in a name, such as `Eggs 10 pcs`."""
    return _unit(line, number) is not None and number.value != round(number.value, 1)


def _product(before: Sequence[Number], amount: Number, lead: Number | None) -> tuple[Number, Number] | None:
    """The quantity and unit price that make the amount; the nearest to it, where several do."""
    options: Iterator[tuple[Number, Number]] = itertools.combinations(reversed(before[-4:]), 2)
    for second, first in options:
        if is_product(first.value, second.value, amount.value):
            if first.amount and not second.amount and first.value != second.value:
                return second, first
            return first, second
    if lead is not None and before and is_product(lead.value, before[-1].value, amount.value):
        return lead, before[-1]
    return None


def _name(line: TextLine, start: int, end: int) -> Span | None:
    """The name before the numbers, without marks and what joins it to them."""
    text = line.plain[:end]
    while match := re.search(r"(?:[\s@:=*]|(?<=\s)[x×-]|\($)\s*$", text):
        text = text[: match.start()]
        if not match[0]:
            break
    span = line.trimmed((start, max(start, len(text))))
    named = line.text[span[0] - line.start : span[1] - line.start]
    return span if re.search(r"[^\W\d]", named) else None


def _value(line: TextLine, number: Number | None) -> Value | None:
    if number is None:
        return None
    return Value(number.value, line.in_transcript((number.start, number.end)), others=number.others)


def _unit(line: TextLine, number: Number | None) -> Span | None:
    """The unit behind a quantity."""
    if number is None:
        return None
    match = re.match(r"\s?([^\W\d_]+[²³]?)\.?(?![^\W_])", line.folded[number.end :])
    if match is None or match[1] not in UNITS:
        return None
    return line.in_transcript((number.end + match.start(1), number.end + match.end(1)))
