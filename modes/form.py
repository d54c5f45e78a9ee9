"""Grounded extraction: every string of the answer is made of whole words of the transcript, every number is printed.

A value that follows its label and has the expected shape is filled in at once. Where the page offers several
candidates, or a schema asks for what no label names, the model chooses, under a grammar that lets it write nothing but
what is on the page. What the evidence leaves open, or speaks against, is marked as doubtful.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from modes.answer_tree import Blank, OpenList, Tree, entries, pieces, to_json
from modes.candidates import Candidates, label_of
from modes.checks import Check, ItemColumns, checks_of
from modes.chosen import chosen_in
from modes.grammar import grammar_of
from modes.item_lists import columns_in, pair_names
from modes.labels import field_of, words_of
from modes.limits import is_within
from modes.normalised import normalised
from modes.page import CHUNK, Span
from modes.pairs import Pair, joined, pairs_of
from modes.reading import read
from modes.schemas import ArrayNode, Leaf, Node, ObjectNode
from modes.signs import signed_items
from modes.values import Json, Value

MAX_LINE = 200  # characters before and after a value that are quoted of its line


@dataclass(frozen=True)
class Field:
    """A filled value, where it is in the answer and on the page."""

    path: str
    value: Json
    span: Span | None  # in the transcript
    question: str | None  # path of the question that the model answered; None where the page decided
    normalised: str | None = None  # ISO date, ISO currency or decimal
    doubtful: bool = False
    candidates: tuple[Json, ...] = field(default=())  # what it may be as well


class Form:
    """A schema filled from one transcript, with the questions that are left to the model."""

    def __init__(self, node: Node, transcript: str, *, doubtful_as_null: bool = False) -> None:
        unknown = [name for name in _leaf_names(node) if field_of(name) is None and words_of(name)]
        self.page = read(transcript, {label_of(name): [words_of(name)] for name in unknown})
        self.choices: dict[str, Any] = {}  # the model's, by question
        self._doubtful_as_null = doubtful_as_null
        self._candidates = Candidates(self.page)
        self._lists: list[ItemColumns] = []
        self._tree = self._fill(node, "")
        self._hold_to_limits()
        self.questions = {entry.path: entry for entry in entries(self._tree) if entry.undecided}
        self._checks = self._checked()

    # --- what the page decides --------------------------------------------------------------------------------------

    def _fill(self, node: Node, path: str) -> Tree:
        if isinstance(node, ObjectNode):
            return {name: self._fill(own, f"{path}.{name}" if path else name) for name, own in node.properties.items()}
        if isinstance(node, ArrayNode):
            return self._list(node, path)
        return self._blank(node, path)

    def _list(self, node: ArrayNode, path: str) -> Tree:
        if isinstance(node.items, ObjectNode):
            columns = columns_in(node.items)
            if columns is not None:
                return self._items(node, columns, path)
            names = pair_names(node.items)
            if names is not None:
                pairs = enumerate(pairs_of(self.page))
                return [self._pair(node.items, names, pair, f"{path}[{i}]") for i, pair in pairs][: node.max_items]
        return OpenList(path, node)

    def _items(self, node: ArrayNode, columns: dict[str, str], path: str) -> Tree:
        """The rows of a list of items. `columns`: the part of an item that each property is."""
        assert isinstance(node.items, ObjectNode)
        rows, table = [], ItemColumns(path, [], [], [])
        items = signed_items(self.page, self._candidates.sums)[: node.max_items]
        for index, item in enumerate(items):
            row = {}
            for name, leaf in node.items.properties.items():
                assert isinstance(leaf, Leaf)
                column = columns[name]
                if column in ("name", "unit"):
                    spans = item.name if column == "name" else [item.unit] if item.unit else []
                    value = self._candidates.value(leaf, spans) if spans else None
                else:
                    value = getattr(item, column)
                row[name] = self._printed(leaf, value, f"{path}[{index}].{name}")
            by_column = {column: row[name] for name, column in columns.items()}
            if "amount" in by_column:
                table.amounts.append(by_column["amount"])
                table.quantities.append(by_column.get("quantity"))
                table.unit_prices.append(by_column.get("unit_price"))
            rows.append(row)
        if table.amounts:
            self._lists.append(table)
        return rows

    def _pair(self, node: ObjectNode, names: tuple[str, str], pair: Pair, path: str) -> Tree:
        label, value = (node.properties[name] for name in names)
        assert isinstance(label, Leaf)
        assert isinstance(value, Leaf)
        text = joined(self.page, pair)
        place = (pair.values[0][0], pair.values[-1][1]) if pair.values else None
        return {
            names[0]: Blank(f"{path}.{names[0]}", label, [Value(self.page.shown(pair.label), pair.label)]),
            names[1]: Blank(f"{path}.{names[1]}", value, [] if text is None else [Value(text, place)]),
        }

    def _printed(self, leaf: Leaf, value: Value | None, path: str) -> Blank:
        """A value that an item has; none, where the page leaves open what its number means."""
        if value is not None and value.number is not None:
            value = self._candidates.number(leaf, value)
        if value is not None and value.others:
            readings = [Value(number, value.span) for number in (value.number, *value.others)]
            return Blank(path, leaf, [], doubtful=True, others=readings)
        return Blank(path, leaf, [value] if value is not None else [])

    def _blank(self, leaf: Leaf, path: str) -> Blank:
        if leaf.choices is not None:
            return Blank(path, leaf, [Value(choice) for choice in leaf.choices])
        name = path.rpartition(".")[2]
        choice = self._candidates.of(leaf, name)
        nothing = not choice.candidates and not choice.others and field_of(name) is None
        return Blank(path, leaf, choice.candidates, nothing, doubtful=choice.doubtful, others=choice.others)

    def _hold_to_limits(self) -> None:
        """Keep to what the schema allows: candidates within its limits, else the best one, as doubtful."""
        for entry in entries(self._tree):
            if isinstance(entry, Blank) and entry.leaf.limits and entry.candidates:
                within = [own for own in entry.candidates if is_within(own.value, entry.leaf.limits)]
                entry.candidates = within or entry.candidates
                entry.doubtful = entry.doubtful or not within

    def _checked(self) -> list[Check]:
        """The sums between filled values; those that do not hold make their values doubtful."""
        checks = checks_of(self._tree, self._lists, self._candidates.sums)
        failed = {path for check in checks if not check.holds for path in check.paths}
        for entry in entries(self._tree):
            if isinstance(entry, Blank) and entry.path in failed:
                entry.doubt()
        return checks

    # --- what the model decides -------------------------------------------------------------------------------------

    def question(self) -> str:
        """The user turn that follows the transcript."""
        return f"Answer as JSON: {', '.join(self.questions)}"

    def grammar(self) -> str:
        """The grammar of the model's answer, in llguidance's Lark."""
        return grammar_of(self.questions, self.page)

    def settle(self, answer: str) -> None:
        """Fill in what is new in the model's answer, as far as it has come.

        One that was cut off leaves the most likely candidates and empty lists for what it lacks.
        """
        for path, choice in chosen_in(answer, list(self.questions)).items():
            if path not in self.choices:
                self.choices[path] = choice
                self._settle(path, choice)

    def end(self) -> None:
        """Check what the model has filled in."""
        self._checks = self._checked()

    def _settle(self, path: str, choice: Any) -> None:
        entry = self.questions[path]
        if isinstance(entry, OpenList):
            items = entry.node.items
            entry.values = [self._grounded(items, own, f"{path}[{i}]") for i, own in enumerate(choice)]
            return
        possible = entry.candidates
        best = self._found(entry.leaf, choice, possible)
        entry.candidates = [best]
        if entry.doubtful:
            entry.others = [own for own in possible if own.value != best.value]

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
        for line in self.page.lines:
            for number in line.numbers:
                if value in (number.value, *number.others):
                    return Value(value, line.in_transcript((number.start, number.end)))
        return Value(None)

    def _span_of(self, words: str) -> Span | None:
        """The first run of whole words of the transcript that is equal to `words`."""
        found = (match.span() for match in re.finditer(re.escape(words), self.page.text))
        return next((span for span in found if self._edges.issuperset(span)), None)

    @cached_property
    def _edges(self) -> frozenset[int]:
        """The edges of words and marks of the transcript."""
        return frozenset(edge for match in CHUNK.finditer(self.page.text) for edge in match.span())

    # --- the outcome ------------------------------------------------------------------------------------------------

    def content(self) -> str:
        """The answer as JSON."""
        return to_json(self._tree, without_doubtful=self._doubtful_as_null)

    def decided(self) -> list[str]:
        """The content in pieces, one a value, up to the first that the model has yet to decide.

        Empty where doubtful values are null, as a later choice can make earlier values doubtful.
        """
        if self._doubtful_as_null:
            return []
        open_ = [entry for path, entry in self.questions.items() if path not in self.choices]
        found: list[str] = []
        between = ""
        for entry, text in pieces(self._tree):
            if any(entry is own for own in open_):
                break
            between += text
            if entry is not None:
                found.append(between)
                between = ""
        return [*found, between] if between else found

    def fields(self) -> list[Field]:
        """Every single value of the answer, in its order."""
        return [self._field(entry) for entry in entries(self._tree) if isinstance(entry, Blank)]

    def _field(self, entry: Blank) -> Field:
        value, path = entry.best, entry.path
        question = next((own for own in self.questions if path == own or path.startswith(f"{own}[")), None)
        others = [own.value for own in entry.others] if entry.doubtful else []
        if entry.doubtful and self._doubtful_as_null:
            others = [value.value, *others] if value.value is not None else others
            value = Value(None)
        name = re.sub(r"\[\d+\]$", "", path).rpartition(".")[2]
        return Field(
            path, value.value, value.span, question, normalised(name, value, self.page), entry.doubtful,
            tuple(dict.fromkeys(others)),
        )  # fmt: skip

    def checks(self) -> list[Check]:
        """The sums between filled values and others of the page."""
        return self._checks

    def line_at(self, span: Span) -> str:
        """The transcript's line around a span, cut to MAX_LINE characters on either side."""
        text = self.page.text
        start, end = text.rfind("\n", 0, span[0]) + 1, text.find("\n", span[1])
        end = end if end >= 0 else len(text)
        return text[max(start, span[0] - MAX_LINE) : min(end, span[1] + MAX_LINE)]


def _leaf_names(node: Node) -> Iterator[str]:
    """Names of the single values of nested objects; not those in lists."""
    if isinstance(node, ObjectNode):
        for name, own in node.properties.items():
            yield from [name] if isinstance(own, Leaf) else _leaf_names(own)
