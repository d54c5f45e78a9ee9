"""The answer of an extraction as a tree: values that are filled in, and questions that are left to the model."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from modes.page import Span
from modes.schemas import ArrayNode, Leaf
from modes.values import Json


@dataclass(frozen=True)
class Value:
    """A value of the answer, and where on the page it is printed."""

    value: Json
    span: Span | None = None  # in the transcript; None for null and for a schema's own words

    @property
    def literal(self) -> str:
        """The value as JSON, with the decimals that are printed."""
        return str(self.value) if isinstance(self.value, Decimal) else json.dumps(self.value, ensure_ascii=False)


@dataclass
class Blank:
    """A single value of the answer: filled if it has one candidate, else a question to the model."""

    path: str
    leaf: Leaf
    candidates: list[Value]  # the most likely first
    open_ended: bool = False  # any words or number of the page may be meant

    @property
    def undecided(self) -> bool:
        return self.open_ended or len(self.candidates) > 1

    @property
    def best(self) -> Value:
        return self.candidates[0] if self.candidates else Value(None)


@dataclass
class OpenList:
    """A list whose rows cannot be told apart on the page: the model writes it."""

    path: str
    node: ArrayNode
    values: list[Any] = field(default_factory=list)
    undecided = True


Entry = Blank | OpenList
Tree = dict[str, Any] | list[Any] | Entry


def entries(tree: Tree) -> Iterator[Entry]:
    """All entries of a tree, in the order of the answer; a list before its values."""
    if isinstance(tree, Blank):
        yield tree
    elif isinstance(tree, OpenList):
        yield tree
        for own in tree.values:
            yield from entries(own)
    else:
        for own in tree.values() if isinstance(tree, dict) else tree:
            yield from entries(own)


def to_json(tree: Tree) -> str:
    if isinstance(tree, Blank):
        return tree.best.literal
    if isinstance(tree, dict):
        members = (f"{json.dumps(name, ensure_ascii=False)}: {to_json(own)}" for name, own in tree.items())
        return "{" + ", ".join(members) + "}"
    return "[" + ", ".join(to_json(own) for own in (tree.values if isinstance(tree, OpenList) else tree)) + "]"
