"""Lists of a schema that a page fills by itself: items of a receipt, pairs of a form."""

from modes.labels import column_of, words_of
from modes.schemas import Leaf, Node, ObjectNode


def columns_in(node: ObjectNode) -> dict[str, str] | None:
    """The column of items that each property of an object is; None if the object is no item."""
    found = {name: column_of(name) if _is_printed(leaf) else None for name, leaf in node.properties.items()}
    amounts = [name for name, column in found.items() if column == "amount"]
    if None in found.values() or not any(column in ("amount", "unit_price") for column in found.values()):
        return None
    if len(amounts) > 1:  # a price next to a total is the price of one piece
        prices = [name for name in amounts if "price" in words_of(name)]
        found |= dict.fromkeys(prices[:1], "unit_price")
    columns = {name: column for name, column in found.items() if column is not None}
    return columns if len(set(columns.values())) == len(columns) else None


def pair_names(node: ObjectNode) -> tuple[str, str] | None:
    """The properties for label and value of an object that is a pair of a form; None if it is no pair."""
    names = list(node.properties)
    words = [words_of(name) for name in names]
    printed = all(map(_is_printed, node.properties.values()))
    if (
        printed
        and len(names) == 2
        and words[0] in ("label", "key", "field", "name")
        and words[1] in ("value", "text", "content")
    ):
        return names[0], names[1]
    return None


def _is_printed(node: Node) -> bool:
    return isinstance(node, Leaf) and node.choices is None
