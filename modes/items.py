"""The items of a receipt or invoice: names, quantities, unit prices and amounts, over one line or several."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from modes.columns import columns_of
from modes.item_numbers import Row, row_on, row_without_amount
from modes.page import PageText, Span, TextLine, merged
from modes.places import elsewhere
from modes.titles import is_no_name, title_index
from modes.values import Value

ENDS = ("subtotal", "tax", "total")
NO_ITEMS = ("paid", "change", "count", "saved", "suggestion", "rounding", "tip")


_POSITION = re.compile(r"(\d{1,3})[.)]?\s+(?=\S)")


@dataclass
class Item:
    """An item: its name, which may be in several places, and its numbers; None for what is not printed.

    The value of the amount is None where it was misread.
    """

    name: list[Span]
    amount: Value
    quantity: Value | None = None
    unit_price: Value | None = None
    unit: Span | None = None
    bare: bool = False  # the amount has neither decimals nor a currency
    dashed: bool = False  # a dash before the amount, which may be a minus or only part it from the name
    discount: bool = False  # it names what is taken off, whatever its sign


@dataclass
class _State:
    """What is known while lines are gone through."""

    heads: list[str]
    whole: bool  # amounts have no decimals on this page
    items: list[Item] = field(default_factory=list)
    names: list[Span] = field(default_factory=list)  # lines of words since the last item
    counts: Row | None = None  # a line of quantity and unit price since the last item
    above: bool = False  # names of several lines end on the line with the numbers


def items_of(page: PageText) -> list[Item]:
    """The items between the heads, if there are any, and the sums."""
    lines, heads = _region(page)
    whole = not any(
        number.amount and number.value.as_tuple().exponent for line in page.lines for number in line.numbers
    )
    state = _State(heads, whole)
    state.above = _names_come_first(lines, state)
    for line in lines:
        _take(state, line)
    return list(_unnumbered(state.items, page))


def _unnumbered(items: Sequence[Item], page: PageText) -> Iterator[Item]:
    """Items without the numbers of their rows: 1, 2, 3 and so on before their names."""
    starts = [_POSITION.match(page.views.plain[slice(*item.name[0])]) for item in items]
    named = [match and int(match[1]) for match in starts] == list(range(1, len(items) + 1)) and len(items) > 1
    counts = [item.quantity and item.quantity.number for item in items]
    counted = counts == list(range(1, len(items) + 1)) and len(items) > 2
    for item, match in zip(items, starts, strict=True):
        if named and match is not None:
            item.name[0] = item.name[0][0] + match.end(), item.name[0][1]
        elif counted and item.unit_price is None:
            item.quantity = None
        yield item


def _region(page: PageText) -> tuple[list[TextLine], list[str]]:
    """The lines that may be items, and the columns of their heads."""
    first, heads = title_index(page) + 1, []
    for index, line in enumerate(page.lines):
        columns = columns_of(line.folded)
        if columns and ("name" in columns or "amount" in columns) and not line.numbers:
            first, heads = index + 1, columns
            break
        if any(part.label.kind in ENDS and part.numbers for part in line.sums):
            break
    placed = {id(place.line) for place in elsewhere(page)[0]}
    found = []
    for line in page.lines[first:]:
        if _ends(line):
            break
        if id(line) not in placed:
            found.append(line)
    return found, heads


def _ends(line: TextLine) -> bool:
    return any(part.label.kind in ENDS and (part.label.rank > 0 or not part.numbers) for part in line.sums[:1])


def _names_come_first(lines: Sequence[TextLine], state: _State) -> bool:
    """Whether names of several lines stand above their numbers: as the first does below heads, or any without heads."""
    if state.heads:
        return bool(lines) and lines[0].is_words and row_on(lines[0], state.heads, whole=state.whole) is None
    return any("\n" in line.text.strip() or _only_numbers(line, state) for line in lines)


def _only_numbers(line: TextLine, state: _State) -> bool:
    row = row_on(line, (), whole=state.whole)
    return row is not None and row.name is None and row.amount is not None and row.quantity is not None


def _take(state: _State, line: TextLine) -> None:
    """Add what a line says to the items."""
    kind = line.sums[0].label.kind if line.sums else None
    row = None
    if kind not in NO_ITEMS and not _is_no_item(line, state):
        row = row_on(line, state.heads, whole=state.whole) or row_without_amount(line, state.heads)
    if row is None:
        _take_words(state, line)
        return
    if row.amount is None:  # only a quantity and a unit price
        if not _completes(state, row):
            state.counts = row
        return
    name = _name(state, row)
    if not name:
        return
    item = Item(name, row.amount, row.quantity, row.unit_price, row.unit, row.bare, row.dashed, kind == "discount")
    if item.quantity is None and state.counts is not None and state.counts.makes(item.amount):
        item.quantity, item.unit_price = state.counts.quantity, state.counts.unit_price
    state.items.append(item)
    state.names, state.counts = [], None


def _is_no_item(line: TextLine, state: _State) -> bool:
    dated = bool(line.dates) and not state.heads
    return (
        dated
        or (not state.heads and is_no_name(line))
        or (bool(line.labels) and not state.heads and line.labels[0].start == 0 and _has_value(line))
    )


def _has_value(line: TextLine) -> bool:
    """Whether a label on the line is one: a colon follows, or no amount does."""
    return ":" in line.text or not any(number.amount for number in line.numbers)


def _take_words(state: _State, line: TextLine) -> None:
    if line.labels or line.sums or line.dates or not line.is_words or re.search(r":|\d{3}[- ]\d{3}", line.plain):
        state.names = []  # the items' names begin below it
        return
    span = line.trimmed((0, len(line.text)))
    if state.items and state.heads and not state.above:
        state.items[-1].name.append(span)
    else:
        state.names.append(span)


def _completes(state: _State, row: Row) -> bool:
    """Fill in the quantity and unit price of the item above, if they make its amount."""
    if not state.items or state.names:
        return False
    last = state.items[-1]
    if last.quantity is not None or not row.makes(last.amount):
        return False
    last.quantity, last.unit_price, last.unit = row.quantity, row.unit_price, row.unit
    return True


def _name(state: _State, row: Row) -> list[Span]:
    """The places of an item's name: on its line, on the lines above, or both."""
    above = state.names if state.heads or state.items else state.names[-1:]
    if row.name is None:
        return list(above)
    joined = state.above and (state.heads or row.wrapped or state.names)
    return [*(above if joined else []), row.name]


def adjoined(spans: Sequence[Span], page: PageText) -> Iterator[Span]:
    """Places of a name, those that follow each other as one."""
    return merged(spans, lambda before, index: not page.views.shown[before[1] : spans[index][0]].strip())
