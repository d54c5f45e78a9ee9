"""Places of an answer to fill: each a blank with its candidates, or a list that the model writes."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from modes.page import Span
from modes.schemas import ArrayNode, Leaf
from modes.values import Json


@dataclass(frozen=True)
class Value:
    """A candidate for a place, with its run of the transcript."""

    value: Json
    span: Span | None = None  # None for null and for a schema's own words

    @property
    def literal(self) -> str:
        return str(self.value) if isinstance(self.value, Decimal) else json.dumps(self.value, ensure_ascii=False)


@dataclass
class Blank:
    """A place of the answer: decided if it has one candidate, else a question to the model."""

    path: str
    leaf: Leaf
    candidates: list[Value]  # the likeliest first
    anything: bool = False  # any words or number of the page may be meant

    @property
    def undecided(self) -> bool:
        return self.anything or len(self.candidates) > 1


@dataclass
class OpenList:
    """A list whose rows cannot be told apart on the page: the model writes it."""

    path: str
    node: ArrayNode
    values: list[Any] = field(default_factory=list)
    undecided = True


Place = Blank | OpenList
Tree = dict[str, Any] | list[Any] | Place


def places_of(tree: Tree) -> Iterator[Place]:
    if isinstance(tree, Blank):
        yield tree
    elif isinstance(tree, OpenList):
        yield tree
        for own in tree.values:
            yield from places_of(own)
    else:
        for own in tree.values() if isinstance(tree, dict) else tree:
            yield from places_of(own)


def as_json(tree: Tree) -> str:
    if isinstance(tree, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {as_json(own)}" for name, own in tree.items())
            + "}"
        )
    if isinstance(tree, Blank):
        return first_of(tree).literal
    return "[" + ", ".join(as_json(own) for own in (tree.values if isinstance(tree, OpenList) else tree)) + "]"


def first_of(blank: Blank) -> Value:
    return blank.candidates[0] if blank.candidates else Value(None)


def distinct(values: Sequence[Value]) -> list[Value]:
    return list({value.literal: value for value in reversed(values)}.values())[::-1]
