"""The signs of items, where print leaves them open: a dash before an amount, a discount without a minus."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from modes.items import Item, items_of
from modes.page import SUMS, PageText
from modes.sums import CENT, MAX_OPTIONS, Sums


def signed_items(page: PageText, sums: Sums) -> list[Item]:
    """The items with the signs that make the page's sums right.

    Where no sum tells: a dash is a minus, unless every item has one; a discount is taken as it is printed.
    """
    items = _without_sums(_without_head(items_of(page), _wanted(sums)), _wanted(sums))
    dashed, discounts = (lambda item: item.dashed), (lambda item: item.discount and _amount(item) > 0)
    if not any(map(dashed, items)) and not any(map(discounts, items)):
        return items
    wanted = _wanted(sums)
    for turned in itertools.product((False, True), repeat=2):
        made = _turned(_turned(items, dashed, turned[0]), discounts, turned[1])
        if _is_one_of(_added(made), wanted):
            return made
    return _turned(items, dashed, len(items) > 1 and all(map(dashed, items)))


def _without_head(items: list[Item], wanted: Sequence[Decimal]) -> list[Item]:
    """Items without lines of the page's head that looked like some, where the rest makes the sum."""
    left = _added(items)
    for first, item in enumerate(items):
        if _is_one_of(left, wanted):
            return items[first:]
        if not item.bare or item.quantity is not None or item.unit_price is not None:
            break
        left -= _amount(item)
    return items


def _without_sums(items: list[Item], wanted: Sequence[Decimal]) -> list[Item]:
    """Items without one that is the sum of those before it, under words that are not known, where the rest is right."""
    added, before = _added(items), Decimal()
    if _is_one_of(added, wanted):
        return items
    for place, item in enumerate(items):
        if place and _amount(item) == before and _is_one_of(added - before, wanted):
            return [*items[:place], *items[place + 1 :]]
        before += _amount(item)
    return items


def _added(items: Sequence[Item]) -> Decimal:
    return sum(map(_amount, items), Decimal())


def _is_one_of(added: Decimal, wanted: Sequence[Decimal]) -> bool:
    return any(abs(added - whole) < CENT for whole in wanted)


def _wanted(sums: Sums) -> list[Decimal]:
    """What the items may add up to."""
    nets, taxes, totals = ([option.number for option in sums.options[kind][:MAX_OPTIONS]] for kind in SUMS)
    return [*nets, *totals, *(total - tax for total in totals for tax in taxes)]


def _amount(item: Item) -> Decimal:
    return item.amount.number or Decimal()


def _turned(items: Sequence[Item], chosen: Callable[[Item], bool], turn: bool) -> list[Item]:
    return [
        replace(item, amount=replace(item.amount, value=-_amount(item))) if turn and chosen(item) else item
        for item in items
    ]
