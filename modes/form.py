"""Grounded extraction: every string of the answer is a run of whole words of the transcript, every number is printed.

A value that follows its label and has the expected shape is filled in at once. Where the page offers several
candidates, or a schema asks for what no label names, the model chooses, under a grammar that lets it write nothing but
what is on the page.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from modes.answer_tree import Blank, OpenList, Tree, Value, entries, to_json
from modes.candidates import Candidates, label_of
from modes.checks import Check, checks_of
from modes.grammar import grammar_of
from modes.labels import Labels, column_of, field_of, words_of
from modes.page import CHUNK, ItemRow, Span, item_rows, label_pairs, read_page
from modes.schemas import ArrayNode, Leaf, Node, ObjectNode
from modes.values import Json, numbers

MAX_LINE = 200  # characters before and after a value that are quoted of its line


@dataclass(frozen=True)
class Field:
    """A filled value, where it is in the answer and on the page."""

    path: str
    value: Json
    span: Span | None  # in the transcript
    question: str | None  # path of the question that the model answered; None where the page decided


class Form:
    """A schema filled from one transcript, with the questions that are left to the model."""

    def __init__(self, node: Node, transcript: str) -> None:
        unknown = [name for name in _leaf_names(node) if field_of(name) is None and words_of(name)]
        self.page = read_page(transcript, Labels({label_of(name): [words_of(name)] for name in unknown}))
        self.choices: dict[str, Any] = {}  # the model's, by question
        self._candidates = Candidates(self.page)
        self._numbers = numbers(transcript, self.page.mark)
        self._amounts: dict[str, str] = {}  # path of a list of items -> the property of an item's amount
        self._tree = self._fill(node, "")
        self.questions = {entry.path: entry for entry in entries(self._tree) if entry.undecided}

    # --- what the page decides --------------------------------------------------------------------------------------

    def _fill(self, node: Node, path: str) -> Tree:
        if isinstance(node, ObjectNode):
            return {name: self._fill(own, f"{path}.{name}" if path else name) for name, own in node.properties.items()}
        if isinstance(node, ArrayNode):
            return self._list(node, path)
        return self._blank(node, path)

    def _list(self, node: ArrayNode, path: str) -> Tree:
        if isinstance(node.items, ObjectNode):
            columns = _columns(node.items)
            if columns is not None:
                self._amounts[path] = next((name for name, column in columns.items() if column == "amount"), "")
                rows = enumerate(item_rows(self.page))
                return [self._row(node.items, columns, row, f"{path}[{i}]") for i, row in rows][: node.max_items]
            names = _pair_names(node.items)
            if names is not None:
                pairs = enumerate(label_pairs(self.page))
                return [self._pair(node.items, names, pair, f"{path}[{i}]") for i, pair in pairs][: node.max_items]
        return OpenList(path, node)

    def _row(self, node: ObjectNode, columns: dict[str, str], row: ItemRow, path: str) -> Tree:
        spans = {name: getattr(row, column) for name, column in columns.items()}
        return {name: self._printed(leaf, spans[name], f"{path}.{name}") for name, leaf in node.properties.items()}

    def _pair(self, node: ObjectNode, names: tuple[str, str], pair: tuple[Span, Span | None], path: str) -> Tree:
        return {
            name: self._printed(node.properties[name], span, f"{path}.{name}")
            for name, span in zip(names, pair, strict=True)
        }

    def _printed(self, leaf: Node, span: Span | None, path: str) -> Blank:
        assert isinstance(leaf, Leaf)
        value = None if span is None else self._candidates.value(leaf, span)
        return Blank(path, leaf, [value] if value is not None else [])

    def _blank(self, leaf: Leaf, path: str) -> Blank:
        if leaf.choices is not None:
            return Blank(path, leaf, [Value(choice) for choice in leaf.choices])
        name = path.rpartition(".")[2]
        candidates = self._candidates.of(leaf, name)
        return Blank(path, leaf, candidates, open_ended=not candidates and field_of(name) is None)

    # --- what the model decides -------------------------------------------------------------------------------------

    def question(self) -> str:
        """The user turn that follows the transcript."""
        return f"Answer as JSON: {', '.join(self.questions)}"

    def grammar(self) -> str:
        """The grammar of the model's answer, in llguidance's Lark."""
        return grammar_of(self.questions, self.page)

    def settle(self, answer: str) -> None:
        """Fill in the model's answer. One that was cut off leaves the most likely candidates and empty lists."""
        try:
            chosen = self.choices = json.loads(answer, parse_float=Decimal, parse_int=Decimal)
        except json.JSONDecodeError:
            return
        for path, entry in self.questions.items():
            if isinstance(entry, OpenList):
                items = entry.node.items
                entry.values = [self._grounded(items, own, f"{path}[{i}]") for i, own in enumerate(chosen[path])]
            else:
                entry.candidates = [self._found(entry.leaf, chosen[path], entry.candidates)]

    def _grounded(self, node: Node, value: Any, path: str) -> Tree:
        if isinstance(node, ObjectNode):
            return {name: self._grounded(own, value[name], f"{path}.{name}") for name, own in node.properties.items()}
        if isinstance(node, ArrayNode):
            return [self._grounded(node.items, own, f"{path}[{i}]") for i, own in enumerate(value)]
        return Blank(path, node, [self._found(node, value, [])])

    def _found(self, leaf: Leaf, value: Json, candidates: Sequence[Value]) -> Value:
        """A value that the model wrote, with its place on the page; null for one that is not there."""
        known = next((own for own in candidates if own.value == value), None)
        if known is not None or value in ("", None):
            return known or Value(None)
        if leaf.choices is not None:
            return Value(value) if value in leaf.choices else Value(None)
        if isinstance(value, str):
            span = self._span_of(value)
            return Value(None) if span is None else Value(value, span)
        number = next((own for own in self._numbers if own.value == value), None)
        return Value(None) if number is None else Value(number.value, (number.start, number.end))

    def _span_of(self, words: str) -> Span | None:
        """The first run of whole words of the transcript that is equal to `words`."""
        edges = {edge for match in CHUNK.finditer(self.page.text) for edge in match.span()}
        found = (match.span() for match in re.finditer(re.escape(words), self.page.text))
        return next((span for span in found if edges.issuperset(span)), None)

    # --- the outcome ------------------------------------------------------------------------------------------------

    def content(self) -> str:
        """The answer as JSON."""
        return to_json(self._tree)

    def fields(self) -> list[Field]:
        """Every single value of the answer, in its order."""
        found = []
        for entry in entries(self._tree):
            if isinstance(entry, Blank):
                value, path = entry.best, entry.path
                question = next((own for own in self.questions if path == own or path.startswith(f"{own}[")), None)
                found.append(Field(path, value.value, value.span, question))
        return found

    def checks(self) -> list[Check]:
        """The sums between filled values."""
        return checks_of(self._tree, self._amounts) if isinstance(self._tree, dict) else []

    def line_at(self, span: Span) -> str:
        """The transcript's line around a span, cut to MAX_LINE characters on either side."""
        text = self.page.text
        start, end = text.rfind("\n", 0, span[0]) + 1, text.find("\n", span[1])
        end = end if end >= 0 else len(text)
        return text[max(start, span[0] - MAX_LINE) : min(end, span[1] + MAX_LINE)]


def _columns(node: ObjectNode) -> dict[str, str] | None:
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


def _is_printed(node: Node) -> bool:
    return isinstance(node, Leaf) and node.choices is None


def _pair_names(node: ObjectNode) -> tuple[str, str] | None:
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


def _leaf_names(node: Node) -> Iterator[str]:
    """Names of the single values of nested objects; not those in lists."""
    if isinstance(node, ObjectNode):
        for name, own in node.properties.items():
            yield from [name] if isinstance(own, Leaf) else _leaf_names(own)
