"""Subtotal, tax and total of a page: all that may be they, and those that agree with each other."""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from modes.page import SUMS, PageText, SumPart, TextLine
from modes.places import elsewhere
from modes.printed.numbers import Number
from modes.values import Value

MAX_OPTIONS = 6  # options of a sum that are tried against the others
MAX_BESIDE = 4  # charges, discounts and the like that are tried with them
CENT = Decimal("0.01")
DUE = 5  # rank of what is to be paid
BESIDE = ("charge", "tip", "rounding", "discount")


@dataclass(frozen=True)
class Option:
    """A number that may be a sum of the page."""

    kind: str
    value: Value
    rank: int
    rate: Decimal | None = None  # the percentage that is printed with it
    split: bool = False  # one of several by rate or kind

    @property
    def number(self) -> Decimal:
        assert isinstance(self.value.value, Decimal)
        return self.value.value


@dataclass(frozen=True)
class RateRow:
    """A line of a table of taxes: what is taxed, and the tax."""

    rate: Decimal
    net: Decimal
    tax: Decimal


@dataclass
class Sums:
    """The sums of a page."""

    options: dict[str, list[Option]] = field(default_factory=dict)  # kind -> the likeliest first
    beside: dict[str, list[Option]] = field(default_factory=dict)  # charge, tip, paid, ...
    rates: list[RateRow] = field(default_factory=list)
    agreed: bool = False  # subtotal, tax and total that make a sum lead their options
    extras: tuple[Option, ...] = ()  # charges and the like that belong to that sum
    included: bool = False  # the tax is a part of the subtotal


def sums_of(page: PageText) -> Sums:
    found = Sums()
    for option in _options(page, found):
        place = found.options if option.kind in SUMS else found.beside
        place.setdefault(option.kind, []).append(option)
    for kind in SUMS:
        found.options[kind] = _ordered(kind, found.options.get(kind, []))
    _agree(found)
    return found


# --- what is printed -------------------------------------------------------------------------------------------------


def _options(page: PageText, sums: Sums) -> Iterator[Option]:
    decimals = any(number.amount for line in page.lines for number in line.numbers)
    paid = False
    for line in page.lines:
        rows = list(_rate_row(line, sums))
        yield from rows
        for part in [] if rows else line.sums:
            yield from _of_part(line, part, paid=paid, decimals=decimals)
        paid = paid or any(part.label.kind in ("paid", "change") and part.numbers for part in line.sums)
    for placed in elsewhere(page)[1]:
        inside = [n for n in placed.line.numbers if placed.region[0] <= n.start < placed.region[1] and not n.percent]
        if inside:
            yield Option(placed.label.kind, _value(placed.line, inside[-1]), placed.label.rank)


def _of_part(line: TextLine, part: SumPart, *, paid: bool, decimals: bool) -> Iterator[Option]:
    """The number that a label of a sum is about."""
    amounts = [number for number in part.numbers if number.amount]
    usable = amounts or [number for number in part.numbers if not number.code and _ends(line, number)]
    if not usable or (not amounts and part.label.rank == 0):
        return
    rank = (
        part.label.rank
        - (2 if not amounts and decimals else 0)
        - (2 if paid and part.label.kind == "total" and part.label.rank < DUE else 0)
    )
    rate = part.rates[-1].value if part.rates else None
    if len(amounts) > 1 and part.label.kind == "total":
        yield from _total_row(line, amounts, rank)
        return
    chosen = usable[-1]
    if rate is not None and len(usable) > 1:
        chosen = next((n for n in usable[1:] if abs(usable[0].value * rate / 100 - n.value) <= CENT), chosen)
    yield Option(part.label.kind, _value(line, chosen), rank, rate)


def _ends(line: TextLine, number: Number) -> bool:
    """Whether hardly anything follows a number on its line."""
    return not re.search(r"[^\W\d_]{4}", line.plain[number.whole[1] :])


def _total_row(line: TextLine, amounts: Sequence[Number], rank: int) -> Iterator[Option]:
    """The last line of a table: net, tax and total beside each other, or any of them."""
    last = amounts[-1]
    for first, second in itertools.combinations(amounts[:-1], 2):
        if abs(first.value + second.value - last.value) <= CENT:
            net, tax = sorted((first, second), key=lambda number: -abs(number.value))
            yield Option("subtotal", _value(line, net), 2)
            yield Option("tax", _value(line, tax), 2)
    yield Option("total", _value(line, last), rank if amounts[0].value == last.value else rank - 2)


def _rate_row(line: TextLine, sums: Sums) -> Iterator[Option]:
    """A line of a table of taxes: a rate, what is taxed and the tax, which make each other."""
    rates = [number.value for number in line.numbers if number.percent]
    amounts = [number for number in line.numbers if number.amount]
    if len(rates) != 1 or not 2 <= len(amounts) <= 4:
        return
    labelled = [part.label.kind for part in line.sums if part.numbers]
    for net, tax in itertools.permutations(amounts, 2):
        if tax.value and abs(net.value * rates[0] / 100 - tax.value) <= CENT:
            sums.rates.append(RateRow(rates[0], net.value, tax.value))
            if labelled and set(labelled) <= {"tax"}:
                yield Option("tax", _value(line, tax), 1, rates[0])
            else:
                yield Option("subtotal", _value(line, net), 1, rates[0])
                yield Option("tax", _value(line, tax), 1, rates[0])
            return


def _value(line: TextLine, number: Number) -> Value:
    return Value(number.value, line.in_transcript((number.start, number.end)), others=number.others)


# --- which of them ---------------------------------------------------------------------------------------------------


def _ordered(kind: str, options: Iterable[Option]) -> list[Option]:
    """Options without repeats, the surest first; of equal totals the last, as what is to be paid stands last."""
    known = list(options)
    if kind == "total":
        known.reverse()
    known.sort(key=lambda option: -option.rank)
    return list({option.number: option for option in reversed(known)}.values())[::-1]


def _agree(sums: Sums) -> None:
    """Put subtotal, tax and total first that make a sum, if there are any."""
    nets, taxes, totals = (sums.options[kind][:MAX_OPTIONS] for kind in SUMS)
    best: tuple[int, tuple[Option, Option, Option], tuple[Option, ...], bool] | None = None
    for net, tax, total in itertools.product(nets, taxes, totals):
        found = _sum(sums, net.number, tax.number, total.number)
        if found is None:
            continue
        places = nets.index(net) + taxes.index(tax) + totals.index(total) - (net.rank + tax.rank + total.rank)
        if best is None or places < best[0]:
            best = places, (net, tax, total), *found
    if best is None:
        _settle_inside(sums)
        return
    _, chosen, sums.extras, sums.included = best
    sums.agreed = True
    for kind, option in zip(SUMS, chosen, strict=True):
        sums.options[kind].remove(option)
        sums.options[kind].insert(0, option)


def _sum(sums: Sums, net: Decimal, tax: Decimal, total: Decimal) -> tuple[tuple[Option, ...], bool] | None:
    """The charges and the like that make a sum right, and whether the tax is inside; None if nothing does."""
    beside = [option for kind in BESIDE for option in sums.beside.get(kind, [])][:MAX_BESIDE]
    for included in (False, True):
        for size in range(len(beside) + 1):
            for extras in itertools.combinations(beside, size):
                if abs(net + (0 if included else tax) + sum(map(signed, extras)) - total) < CENT:
                    return extras, included
    return None


def signed(option: Option) -> Decimal:
    """What a charge adds to a sum: a discount takes away, however it is signed."""
    return -abs(option.number) if option.kind == "discount" else option.number


def _settle_inside(sums: Sums) -> None:
    """Prefer what was asked for before a payment on account to what is left to pay after it."""
    totals = sums.options["total"]
    paid = [option.number for option in sums.beside.get("paid", [])][:MAX_OPTIONS]
    for total, due in itertools.permutations(totals[:MAX_OPTIONS], 2):
        if due.rank >= DUE > total.rank and any(abs(total.number - part - due.number) < CENT for part in paid):
            totals.remove(total)
            totals.insert(0, total)
            return


def undecided(kind: str, sums: Sums) -> bool:
    """Whether a sum is printed in parts only, so that none of them is it: taxes of several rates or names."""
    options = sums.options[kind]
    top = [option for option in options if option.rank == options[0].rank] if options else []
    if kind == "total" or sums.agreed or len(top) < 2:
        return False
    return kind == "tax" or all(option.rate is not None for option in top)
