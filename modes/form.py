"""Grounded extraction: every string is a run of whole words of the transcript, every number one that is printed in it.

A value that follows its label and has the expected looks is taken at once. Where the page leaves several candidates, or
a schema asks for what no label names, the model chooses, under a grammar that lets it write only what is on the page.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from modes.candidates import OWN, Candidates, columns_of, pair_names_of
from modes.grammar import CHUNK, QuestionGrammar, lark_string
from modes.labels import Labels, field_of, words_of
from modes.page import ItemRow, Span, pairs, read_page, rows
from modes.places import Blank, OpenList, Tree, Value, as_json, first_of, places_of
from modes.schemas import ArrayNode, Leaf, Node, ObjectNode
from modes.values import Json, numbers

MAX_LINE = 200  # characters of a line that a field reports


@dataclass(frozen=True)
class Field:
    """A filled place of the form, with its run of the transcript."""

    path: str
    value: Json
    span: Span | None
    question: str | None  # path of the place that the model decided; None if the page did


@dataclass(frozen=True)
class Check:
    """A sum that should hold between printed values; one that does not is reported, not corrected."""

    rule: str
    left: Decimal
    right: Decimal

    @property
    def holds(self) -> bool:
        return self.left == self.right


class Form:
    """A schema filled from one transcript: what the page decides at once, and questions for the rest."""

    def __init__(self, node: Node, transcript: str) -> None:
        words = {words_of(name) for name in _leaf_names(node) if field_of(name) is None}
        self.page = read_page(transcript, Labels({OWN + own: [own] for own in words if own}))
        self.choices: dict[str, Any] = {}  # the model's, by question
        self._numbers = numbers(transcript, self.page.mark)
        self._amounts: dict[str, str] = {}  # path of a list of items -> the property with the cost of each
        self._candidates = Candidates(self.page)
        self.tree = self._fill(node, "")
        self.questions = {place.path: place for place in places_of(self.tree) if place.undecided}

    # --- candidates -------------------------------------------------------------------------------------------------

    def _fill(self, node: Node, path: str) -> Tree:
        if isinstance(node, ObjectNode):
            return {name: self._fill(own, f"{path}.{name}" if path else name) for name, own in node.properties.items()}
        if isinstance(node, ArrayNode):
            return self._list(node, path)
        return self._candidates.blank(node, path)

    def _list(self, node: ArrayNode, path: str) -> Tree:
        if isinstance(node.items, ObjectNode):
            columns = columns_of(node.items)
            if columns is not None:
                self._amounts[path] = next((name for name, column in columns.items() if column == "amount"), "")
                found = [self._row(node.items, columns, row, f"{path}[{i}]") for i, row in enumerate(rows(self.page))]
                return found[: node.max_items]
            names = pair_names_of(node.items)
            if names is not None:
                found = [self._pair(node.items, names, pair, f"{path}[{i}]") for i, pair in enumerate(pairs(self.page))]
                return found[: node.max_items]
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

    # --- the model's part -------------------------------------------------------------------------------------------

    def question(self) -> str:
        """The model's question after it has read the page."""
        return f"Answer as JSON: {', '.join(self.questions)}"

    def grammar(self) -> str:
        """The grammar of its answer, in llguidance's Lark: an object of the open places with values on the page."""
        rules = QuestionGrammar(self.page)
        parts = [f"{lark_string(json.dumps(path) + ':')} {rules.of(place)}" for path, place in self.questions.items()]
        inside = f" {lark_string(',')} ".join(parts)
        return "\n".join([f'start: "{{" {inside} "}}"', *rules.lines])

    def settle(self, answer: str) -> None:
        """Apply the model's choices; an answer that was cut off leaves the likeliest candidates and empty lists."""
        try:
            chosen = self.choices = json.loads(answer, parse_float=Decimal, parse_int=Decimal)
        except json.JSONDecodeError:
            return
        for path, place in self.questions.items():
            if isinstance(place, OpenList):
                items = place.node.items
                place.values = [self._grounded(items, own, f"{path}[{i}]") for i, own in enumerate(chosen[path])]
            else:
                place.candidates = [self._found(place.leaf, chosen[path], place.candidates)]

    def _grounded(self, node: Node, value: Any, path: str) -> Tree:
        if isinstance(node, ObjectNode):
            return {name: self._grounded(own, value[name], f"{path}.{name}") for name, own in node.properties.items()}
        if isinstance(node, ArrayNode):
            return [self._grounded(node.items, own, f"{path}[{i}]") for i, own in enumerate(value)]
        return Blank(path, node, [self._found(node, value, [])])

    def _found(self, leaf: Leaf, value: Json, candidates: Sequence[Value]) -> Value:
        """A value that the model wrote, with its place on the page; null if it is not there."""
        known = next((own for own in candidates if own.value == value), None)
        if known is not None or value in ("", None):
            return known or Value(None)
        if leaf.choices is not None:
            return Value(value) if value in leaf.choices else Value(None)
        if isinstance(value, str):
            span = self._run(value)
            return Value(None) if span is None else Value(value, span)
        number = next((own for own in self._numbers if own.value == value), None)
        return Value(None) if number is None else Value(number.value, (number.start, number.end))

    def _run(self, words: str) -> Span | None:
        """The run of whole words on the page."""
        ends = {place for match in CHUNK.finditer(self.page.text) for place in match.span()}
        found = (match.span() for match in re.finditer(re.escape(words), self.page.text))
        return next((span for span in found if ends.issuperset(span)), None)

    # --- the outcome ------------------------------------------------------------------------------------------------

    def content(self) -> str:
        """The answer as JSON."""
        return as_json(self.tree)

    def fields(self) -> list[Field]:
        found = []
        for place in places_of(self.tree):
            if isinstance(place, Blank):
                value, path = first_of(place), place.path
                question = next((own for own in self.questions if path == own or path.startswith(f"{own}[")), None)
                found.append(Field(path, value.value, value.span, question))
        return found

    def line_at(self, span: Span) -> str:
        """The transcript's line around a run, or the nearest part of it."""
        text = self.page.text
        start, end = text.rfind("\n", 0, span[0]) + 1, text.find("\n", span[1])
        end = end if end >= 0 else len(text)
        return text[max(start, span[0] - MAX_LINE) : min(end, span[1] + MAX_LINE)]

    def checks(self) -> list[Check]:
        """The sums over the filled fields, if all of their values are there."""
        if not isinstance(self.tree, dict):
            return []
        known: dict[str, Decimal] = {}
        amounts: list[Json] = []
        for name, own in self.tree.items():
            if isinstance(own, Blank):
                value = first_of(own).value
                if isinstance(value, Decimal):
                    known.setdefault(field_of(name) or name, value)
            elif isinstance(own, list) and (amount := self._amounts.get(name)):
                amounts = [first_of(row[amount]).value for row in own]
        checks = []
        printed = [amount for amount in amounts if isinstance(amount, Decimal)]
        if printed and len(printed) == len(amounts) and "subtotal" in known:
            checks.append(Check("items = subtotal", sum(printed, Decimal()), known["subtotal"]))
        if {"subtotal", "tax", "total"} <= set(known):
            checks.append(Check("subtotal + tax = total", known["subtotal"] + known["tax"], known["total"]))
        return checks


def _leaf_names(node: Node) -> Iterator[str]:
    if isinstance(node, ObjectNode):
        for name, own in node.properties.items():
            yield from [name] if isinstance(own, Leaf) else _leaf_names(own)
