"""The sums that should hold between the values of a filled form."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from modes.answer_tree import Blank, Tree
from modes.labels import field_of
from modes.values import Json


@dataclass(frozen=True)
class Check:
    """A sum between printed values. One that does not hold is reported, never corrected."""

    rule: str
    left: Decimal
    right: Decimal

    @property
    def holds(self) -> bool:
        return self.left == self.right


def checks_of(tree: Mapping[str, Tree], amounts: Mapping[str, str]) -> list[Check]:
    """The sums whose values are all filled.

    `amounts`: for each list of items, the property that holds an item's amount; "" if there is none.
    """
    known: dict[str, Decimal] = {}
    items: list[Json] = []
    for name, own in tree.items():
        if isinstance(own, Blank):
            value = own.best.value
            if isinstance(value, Decimal):
                known.setdefault(field_of(name) or name, value)
        elif isinstance(own, list) and (amount := amounts.get(name)):
            items = [row[amount].best.value for row in own]
    checks = []
    printed = [amount for amount in items if isinstance(amount, Decimal)]
    if printed and len(printed) == len(items) and "subtotal" in known:
        checks.append(Check("items = subtotal", sum(printed, Decimal()), known["subtotal"]))
    if {"subtotal", "tax", "total"} <= set(known):
        checks.append(Check("subtotal + tax = total", known["subtotal"] + known["tax"], known["total"]))
    return checks
