"""The sums and products that should hold between the values of a filled form."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from modes.answer_tree import Blank, Tree
from modes.item_numbers import TOLERANCE
from modes.labels import field_of
from modes.page import SUMS
from modes.sums import CENT, Option, Sums, signed


@dataclass(frozen=True)
class Check:
    """A sum or product of printed values. One that does not hold is reported, never corrected."""

    rule: str
    left: Decimal
    right: Decimal
    paths: tuple[str, ...] = ()  # values that it is about
    tolerance: Decimal = Decimal()  # products are printed rounded

    @property
    def holds(self) -> bool:
        return abs(self.left - self.right) <= self.tolerance


@dataclass
class ItemColumns:
    """The values of a list of items, row by row."""

    path: str
    amounts: list[Blank]
    quantities: list[Blank | None]
    unit_prices: list[Blank | None]


def checks_of(tree: Tree, lists: Sequence[ItemColumns], sums: Sums) -> list[Check]:
    """All that the filled values and the page's other sums offer."""
    known = dict(_known(tree))
    return [
        *_of_items(lists[0] if lists else None, known, sums),
        *_of_sums(known, sums),
        *_of_rates(known, sums),
        *_of_payment(known, sums),
        *(check for columns in lists for check in _of_products(columns)),
    ]


def _known(tree: Tree) -> Iterator[tuple[str, tuple[str, Decimal]]]:
    """Sum -> path and value of its property, for those that are filled."""
    if isinstance(tree, dict):
        for name, own in reversed(tree.items()):
            if isinstance(own, Blank):
                value, kind = own.best.number, field_of(name)
                if value is not None and kind is not None:
                    yield kind, (own.path, value)
            else:
                yield from _known(own)


def _of_items(items: ItemColumns | None, known: Mapping[str, tuple[str, Decimal]], sums: Sums) -> Iterator[Check]:
    kind = next((kind for kind in ("subtotal", "total") if kind in known), None)
    if items is None or kind is None or not items.amounts:
        return
    amounts = [blank.best.number for blank in items.amounts]
    if None in amounts:
        return
    added = sum((amount for amount in amounts if amount is not None), Decimal())
    options = [own for own in (kind, "total") if own in known]
    found = [(own, fitting) for own in options if (fitting := _fitting(own, added, known[own][1], known, sums))]
    kind, (name, more) = found[0] if found else (kind, ("", Decimal()))
    path, whole = known[kind]
    paths = (*((path,) if not sums.agreed else ()), *(blank.path for blank in items.amounts))
    yield Check(f"items{name} = {kind}", added + more, whole, paths)


def _fitting(
    kind: str, added: Decimal, whole: Decimal, known: Mapping[str, tuple[str, Decimal]], sums: Sums
) -> tuple[str, Decimal] | None:
    """What is to be added to the items, if it makes the sum right: nothing, the tax, charges and discounts."""
    beside = [option for options in sums.beside.values() for option in options if option.kind in _SIGNS]
    parts = [(f" {_SIGNS[option.kind]} {option.kind}", signed(option)) for option in beside]
    tax = [(" + tax", known["tax"][1])] if kind == "total" and "tax" in known else []
    for option_parts in ([], tax, parts, [*tax, *parts], *([part] for part in parts)):
        more = sum((number for _, number in option_parts), Decimal())
        if abs(added + more - whole) < CENT:
            return "".join(name for name, _ in option_parts), more
    return None


_SIGNS = {"charge": "+", "tip": "+", "rounding": "+", "discount": "-"}


def _of_sums(known: Mapping[str, tuple[str, Decimal]], sums: Sums) -> Iterator[Check]:
    if not set(SUMS) <= set(known):
        return
    net, tax, total = (known[kind][1] for kind in SUMS)
    paths = tuple(known[kind][0] for kind in SUMS)
    if sums.agreed:
        more = "".join(f" {_SIGNS[option.kind]} {option.kind}" for option in sums.extras)
        extra = sum(map(signed, sums.extras), Decimal())
        if sums.included:
            yield Check(f"subtotal{more} = total (tax included)", net + extra, total, paths)
        else:
            yield Check(f"subtotal + tax{more} = total", net + tax + extra, total, paths)
    else:
        yield Check("subtotal + tax = total", net + tax, total, paths)


def _of_rates(known: Mapping[str, tuple[str, Decimal]], sums: Sums) -> Iterator[Check]:
    """Taxes by their rates: each of what it is counted on, and all together the tax."""
    if "tax" not in known:
        return
    path, tax = known["tax"]
    rows = list(dict.fromkeys(sums.rates))
    if len(rows) > 1:
        added = sum((row.tax for row in rows), Decimal())
        yield Check("taxes by rate = tax", added, tax, (path,))
    option = next((own for own in sums.options["tax"] if own.number == tax), None)
    if option is None or option.rate is None or len(rows) > 1 or "total" not in known:
        return
    if "subtotal" in known:
        yield _of_rate(option, known, sums)


def _of_rate(option: Option, known: Mapping[str, tuple[str, Decimal]], sums: Sums) -> Check:
    rate = option.rate or Decimal()
    base = known["total"][1] * 100 / (100 + rate) if sums.included else known["subtotal"][1]
    bases = [base, *(base + signed(extra) for extra in sums.extras), *(row.net for row in sums.rates)]
    nearest = min((own * rate / 100 for own in bases), key=lambda own: abs(own - option.number))
    places = Decimal(1) if option.number == option.number.to_integral() else CENT
    paths = (known["tax"][0],)
    return Check(f"{rate} % of subtotal = tax", nearest.quantize(CENT), option.number, paths, tolerance=2 * places)


def _of_payment(known: Mapping[str, tuple[str, Decimal]], sums: Sums) -> Iterator[Check]:
    """What was paid and given back."""
    paid, change = sums.beside.get("paid", []), sums.beside.get("change", [])
    if not paid or not change or "total" not in known:
        return
    path, total = known["total"]
    back = change[-1].number
    every = sum((option.number for option in paid), Decimal())
    given = next((n for n in (every, *(option.number for option in paid)) if n - back == total), paid[0].number)
    yield Check("paid - change = total", given - back, total, () if sums.agreed else (path,))


def _of_products(columns: ItemColumns) -> Iterator[Check]:
    rows = zip(columns.amounts, columns.quantities, columns.unit_prices, strict=True)
    for index, (amount, quantity, unit_price) in enumerate(rows):
        values = [blank.best.number for blank in (quantity, unit_price, amount) if blank is not None]
        if len(values) == 3 and all(value is not None for value in values):
            count, each, whole = (value or Decimal() for value in values)
            paths = tuple(blank.path for blank in (quantity, unit_price, amount) if blank is not None)
            rule = f"{columns.path}[{index}]: quantity x unit price = amount"
            yield Check(rule, count * each, whole, paths, tolerance=TOLERANCE)
