"""The answer of an extraction as a tree: values that are filled in, and questions that are left to the model."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from modes.schemas import ArrayNode, Leaf
from modes.values import Value


@dataclass
class Blank:
    """A single value of the answer: filled if it has one candidate, else a question to the model."""

    path: str
    leaf: Leaf
    candidates: list[Value]  # the most likely first
    open_ended: bool = False  # any words or number of the page may be meant
    doubtful: bool = False  # the evidence leaves others, or speaks against it
    others: list[Value] = field(default_factory=list)  # what it may be as well

    @property
    def undecided(self) -> bool:
        return self.open_ended or len(self.candidates) > 1

    @property
    def best(self) -> Value:
        return self.candidates[0] if self.candidates else Value(None)

    def doubt(self) -> None:
        """Mark a filled value as one that the evidence speaks against."""
        self.doubtful = self.doubtful or self.best.value is not None


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


def to_json(tree: Tree, *, without_doubtful: bool = False) -> str:
    """The answer as JSON; `without_doubtful`: with null for doubtful values."""
    return "".join(text for _, text in pieces(tree, without_doubtful=without_doubtful))


def pieces(tree: Tree, *, without_doubtful: bool = False) -> Iterator[tuple[Entry | None, str]]:
    """The answer as JSON in pieces: each with the value or list that it begins, or None for what stands between."""
    if isinstance(tree, Blank):
        yield tree, "null" if without_doubtful and tree.doubtful else tree.best.literal
    elif isinstance(tree, dict):
        yield None, "{"
        for index, (name, own) in enumerate(tree.items()):
            yield None, f"{', ' if index else ''}{json.dumps(name, ensure_ascii=False)}: "
            yield from pieces(own, without_doubtful=without_doubtful)
        yield None, "}"
    else:
        yield (tree, "[") if isinstance(tree, OpenList) else (None, "[")
        for index, own in enumerate(tree.values if isinstance(tree, OpenList) else tree):
            if index:
                yield None, ", "
            yield from pieces(own, without_doubtful=without_doubtful)
        yield None, "]"
