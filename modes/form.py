"""Grounded fields: every string is a run of whole words of the transcript, every number one that stands in it.

What stands behind a label and looks right is taken at once. Where the page leaves several candidates, or a schema asks
for what no label names, the model chooses, under a grammar that lets it write nothing but what is on the page.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from modes.labels import Label, Labels, column_of, field_of, words_of
from modes.page import SUMS, Line, Page, Row, Span, pairs, read_page, rows, title_line
from modes.schemas import ArrayNode, Leaf, Node, ObjectNode
from modes.values import CURRENCY, Json, Number, numbers

SHAPES = {"date": "date", "due_date": "date", "invoice_number": "code"} | dict.fromkeys(SUMS, "amount")
"""How the values of known fields look; other fields are text, or by their type numbers."""
NEEDS_COLON = {"to", "from", "net", "due"}  # words too common to be labels of texts by themselves
NULL = "null"
OWN = "own "  # before the words of a property that no known field is
MAX_ROWS = 32  # of a list that the model writes
MAX_LINE = 200  # characters of a line that a field tells of
CHUNK = re.compile(r"\s+|\w+(?:[^\w\s]+\w+)*|[^\w\s]+")
"""Blanks, words with the marks inside them (`O'Brien`, `12.50`), other marks: the model takes them whole or not."""


@dataclass(frozen=True)
class Value:
    value: Json
    span: Span | None = None  # where it stands; None for null and for a schema's own words

    @property
    def literal(self) -> str:
        return str(self.value) if isinstance(self.value, Decimal) else json.dumps(self.value, ensure_ascii=False)


@dataclass
class Blank:
    """A place of the answer: decided where it has one candidate, else a question to the model."""

    path: str
    leaf: Leaf
    candidates: list[Value]  # the likeliest first
    anything: bool = False  # any words or number of the page may be meant

    @property
    def undecided(self) -> bool:
        return self.anything or len(self.candidates) > 1


@dataclass
class OpenList:
    """A list whose rows nothing on the page tells apart: the model writes it."""

    path: str
    node: ArrayNode
    values: list[Any] = field(default_factory=list)
    undecided = True


Place = Blank | OpenList
Tree = dict[str, Any] | list[Any] | Place


@dataclass(frozen=True)
class Field:
    path: str
    value: Json
    span: Span | None
    question: str | None  # the path of the place that the model was to decide; None where the page did


@dataclass(frozen=True)
class Check:
    """A sum that should hold between printed values; what does not is reported, never mended."""

    rule: str
    left: Decimal
    right: Decimal

    @property
    def holds(self) -> bool:
        return self.left == self.right


class Form:
    """A schema, filled from one transcript."""

    def __init__(self, node: Node, transcript: str) -> None:
        words = {words_of(name) for name in _leaf_names(node) if field_of(name) is None}
        self.page = read_page(transcript, Labels({OWN + own: [own] for own in words if own}))
        self.choices: dict[str, Any] = {}  # of the model, by question
        self._numbers = numbers(transcript, self.page.mark)
        self._amounts: dict[str, str] = {}  # a list of items -> the property that holds what each costs
        self.tree = self._fill(node, "")
        self.questions = {place.path: place for place in _places(self.tree) if place.undecided}

    # --- candidates -------------------------------------------------------------------------------------------------

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
                found = [self._row(node.items, columns, row, f"{path}[{i}]") for i, row in enumerate(rows(self.page))]
                return found[: node.most]
            names = _pair_names(node.items)
            if names is not None:
                found = [self._pair(node.items, names, pair, f"{path}[{i}]") for i, pair in enumerate(pairs(self.page))]
                return found[: node.most]
        return OpenList(path, node)

    def _row(self, node: ObjectNode, columns: dict[str, str], row: Row, path: str) -> Tree:
        spans = {name: getattr(row, column) for name, column in columns.items()}
        return {name: self._printed(leaf, spans[name], f"{path}.{name}") for name, leaf in node.properties.items()}

    def _pair(self, node: ObjectNode, names: tuple[str, str], pair: tuple[Span, Span | None], path: str) -> Tree:
        return {
            name: self._printed(node.properties[name], span, f"{path}.{name}")
            for name, span in zip(names, pair, strict=True)
        }

    def _printed(self, leaf: Node, span: Span | None, path: str) -> Blank:
        assert isinstance(leaf, Leaf)
        value = None if span is None else self._value(leaf, span)
        return Blank(path, leaf, [value] if value is not None else [])

    def _blank(self, leaf: Leaf, path: str) -> Blank:
        if leaf.choices is not None:
            return Blank(path, leaf, [Value(choice) for choice in leaf.choices])
        name = path.rpartition(".")[2]
        known = field_of(name)
        for spans in self._tiers(leaf, known or OWN + words_of(name)):
            values = [value for span in spans if (value := self._value(leaf, span)) is not None]
            if values:
                return Blank(path, leaf, _distinct(values))
        return Blank(path, leaf, [], anything=known is None)

    def _tiers(self, leaf: Leaf, label: str) -> Iterator[list[Span]]:
        """Where a field may stand, the surest places first."""
        text = "date" if "date" in label.split() else "text"
        shape = SHAPES.get(label, text if leaf.kind == "string" else "number")
        if label == "currency":
            yield self._labelled(label, "currency")
            yield self._currencies()
            return
        yield self._labelled(label, shape, strict=True)
        yield self._labelled(label, shape)
        yield self._below(label, shape)
        if label == "date":
            others = [(line, own) for line in self.page.lines for own in line.labels if own.field == "due_date"]
            other = {self._at(line, own, "date") for line, own in others}
            every = [(line.start + a, line.start + b) for line in self.page.lines for a, b in line.dates]
            yield [span for span in every if span not in other]
        if label in ("merchant", "vendor"):
            top = title_line(self.page)
            yield [top] if top is not None else []

    def _labelled(self, label: str, shape: str, *, strict: bool = False) -> list[Span]:
        """Values right behind the label; strict: with nothing but marks and a rate before them."""
        found = []
        for line in self.page.lines:
            for own in line.labels:
                span = self._at(line, own, shape, strict=strict) if own.field == label else None
                if span is not None:
                    found.append(span)
        return found

    def _below(self, label: str, shape: str) -> list[Span]:
        """Values on the line below a label that stands alone."""
        found = []
        for line, below in zip(self.page.lines, self.page.lines[1:], strict=False):
            alone = [own for own in line.labels if own.field == label and line.text[own.end :].strip() == ""]
            if alone and not below.labels and line.text.strip().lower() != "invoice":
                span = _shaped(below, (0, len(below.text)), shape, strict=True)
                if span is not None:
                    found.append(below.at(span))
        return found

    def _at(self, line: Line, label: Label, shape: str, *, strict: bool = False) -> Span | None:
        word = line.text[label.start : label.end].strip().lower()
        if shape == "text" and word in NEEDS_COLON:
            return None
        span = _shaped(line, (label.end, label.stop), shape, strict=strict)
        return None if span is None else line.at(span)

    def _currencies(self) -> list[Span]:
        """The sign or code at the total, else at other amounts."""
        found: list[tuple[bool, Span]] = []
        for line in self.page.lines:
            total = any(label.field == "total" for label in line.labels)
            marks = [number.currency for number in line.numbers if number.currency is not None]
            found += [(total, (line.start + a, line.start + b)) for a, b in marks]
        chosen = [span for total, span in found if total] or [span for _, span in found]
        return chosen[:1]

    def _value(self, leaf: Leaf, span: Span) -> Value | None:
        """The run as a value of the leaf's type; None where it is none."""
        text = " ".join(self.page.text[slice(*span)].split())
        if leaf.kind == "string":
            return Value(text, span) if text else None
        found = numbers(text, self.page.mark)
        if len(found) != 1 or (leaf.kind == "integer" and found[0].value != int(found[0].value)):
            return None
        return Value(found[0].value, span)

    # --- the model's part -------------------------------------------------------------------------------------------

    def question(self) -> str:
        """What the model is asked for after it has read the page."""
        return f"Answer as JSON: {', '.join(self.questions)}"

    def grammar(self) -> str:
        """What its answer may be, in llguidance's Lark: an object of the open places, whose values are on the page."""
        rules = _Rules(self.page)
        parts = [f"{_lark(json.dumps(path) + ':')} {rules.of(place)}" for path, place in self.questions.items()]
        inside = f" {_lark(',')} ".join(parts)
        return "\n".join([f'start: "{{" {inside} "}}"', *rules.lines])

    def settle(self, answer: str) -> None:
        """Take the model's choices; an answer that was cut off leaves the likeliest candidates and empty lists."""
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
        """A value that the model wrote, with its place on the page; null for one that has none."""
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
        """Where words stand on the page, whole."""
        ends = {place for match in CHUNK.finditer(self.page.text) for place in match.span()}
        found = (match.span() for match in re.finditer(re.escape(words), self.page.text))
        return next((span for span in found if ends.issuperset(span)), None)

    # --- the outcome ------------------------------------------------------------------------------------------------

    def content(self) -> str:
        """The answer as JSON."""
        return _json(self.tree)

    def fields(self) -> list[Field]:
        found = []
        for place in _places(self.tree):
            if isinstance(place, Blank):
                value, path = _first(place), place.path
                question = next((own for own in self.questions if path == own or path.startswith(f"{own}[")), None)
                found.append(Field(path, value.value, value.span, question))
        return found

    def line_at(self, span: Span) -> str:
        """The transcript's line around a run, or what of it stands nearest."""
        text = self.page.text
        start, end = text.rfind("\n", 0, span[0]) + 1, text.find("\n", span[1])
        end = end if end >= 0 else len(text)
        return text[max(start, span[0] - MAX_LINE) : min(end, span[1] + MAX_LINE)]

    def checks(self) -> list[Check]:
        """The sums that the filled fields should make, where all their values are there."""
        if not isinstance(self.tree, dict):
            return []
        known: dict[str, Decimal] = {}
        amounts: list[Json] = []
        for name, own in self.tree.items():
            if isinstance(own, Blank):
                value = _first(own).value
                if isinstance(value, Decimal):
                    known.setdefault(field_of(name) or name, value)
            elif isinstance(own, list) and (amount := self._amounts.get(name)):
                amounts = [_first(row[amount]).value for row in own]
        checks = []
        printed = [amount for amount in amounts if isinstance(amount, Decimal)]
        if printed and len(printed) == len(amounts) and "subtotal" in known:
            checks.append(Check("items = subtotal", sum(printed, Decimal()), known["subtotal"]))
        if {"subtotal", "tax", "total"} <= set(known):
            checks.append(Check("subtotal + tax = total", known["subtotal"] + known["tax"], known["total"]))
        return checks


class _Rules:
    """The Lark rules of open places, each thing on the page written once."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.lines: list[str] = []
        self._shared: dict[str, str] = {}

    def of(self, place: Place) -> str:
        if isinstance(place, OpenList):
            return self._node(place.node)
        if place.anything:
            return self._anything(place.leaf)
        return self._rule(" | ".join(_lark(value.literal) for value in place.candidates))

    def _node(self, node: Node) -> str:
        if isinstance(node, ObjectNode):
            parts = [f"{_lark(json.dumps(name) + ':')} {self._node(own)}" for name, own in node.properties.items()]
            inside = f" {_lark(',')} ".join(parts)
            return self._rule(f'"{{" {inside} "}}"')
        if isinstance(node, ArrayNode):
            one, most = self._node(node.items), min(MAX_ROWS if node.most is None else node.most, MAX_ROWS)
            return self._rule(f'"[" "]" | "[" {one} ("," {one}){{0,{most - 1}}} "]"' if most else '"[" "]"')
        if node.choices is not None:
            return self._rule(" | ".join(_lark(Value(choice).literal) for choice in node.choices))
        return self._anything(node)

    def _anything(self, leaf: Leaf) -> str:
        """Any run of whole words of one line, or any number, or null."""
        kind = "words" if leaf.kind == "string" else leaf.kind
        if kind in self._shared:
            return self._shared[kind]
        if kind == "words":
            chunks = CHUNK.findall(self._page.text)
            self.lines.append(f"CHUNKS: %regex {json.dumps({'substring_chunks': chunks}, ensure_ascii=False)}")
            # From and to a word or mark, on one line, with a letter or digit in it; no quote that JSON would escape.
            self.lines.append(r'WORDS: CHUNKS & /\S([^\x00-\x1f"\\]*\S)?/ & /[^\x00-\x1f"\\]*\w[^\x00-\x1f"\\]*/')
            parts = [_lark(NULL), f"{_lark(chr(34))} WORDS {_lark(chr(34))}"]
        else:
            found = numbers(self._page.text, self._page.mark)
            values = {own.value for own in found if kind == "number" or own.value == int(own.value)}
            parts = [_lark(NULL), *(_lark(str(value)) for value in sorted(values))]
        self._shared[kind] = self._rule(" | ".join(parts))
        return self._shared[kind]

    def _rule(self, body: str) -> str:
        name = f"r{len(self.lines)}"
        self.lines.append(f"{name}: {body}")
        return name


def _lark(text: str) -> str:
    """A string of Lark: written as JSON's are."""
    return json.dumps(text, ensure_ascii=False)


def _shaped(line: Line, region: Span, shape: str, *, strict: bool) -> Span | None:
    """The run of a region that looks like a value of that shape; on the line."""
    start, end = region
    if shape in ("text", "code"):  # an amount below them may have been taken for the end of their line
        end = min(end, len(line.text.split("\n", 1)[0])) if "\n" in line.text[start:end] else end
    text = line.text[start:end]
    if shape == "text":
        return (start, end) if re.search(r"\w", text) else None
    if shape == "currency":
        mark = re.match(CURRENCY, text)
        return None if mark is None else (start, start + mark.end())
    if shape == "date":
        found = next(((a, b) for a, b in line.dates if start <= a and b <= end), None)
        return None if found is None or (strict and re.search(r"\w", line.text[start : found[0]])) else found
    if shape == "code":
        return _code(line, start, text, strict=strict)
    inside = [number for number in line.numbers if start <= number.start and number.end <= end and not number.percent]
    if shape == "number":
        whole = next((number for number in inside if not _in_code(line.text, number)), None)
        return None if whole is None else (whole.start, whole.end)
    likely = [number for number in inside if number.amount] or inside
    if not likely or (strict and re.search(r"[^\W\d_]{4,}", line.text[start : likely[-1].start])):
        return None
    return likely[-1].start, likely[-1].end


def _in_code(text: str, number: Number) -> bool:
    """Whether a number is only a part of something longer, such as `0012-3456` or `17b`."""
    before, after = text[max(0, number.start - 2) : number.start], text[number.end : number.end + 2]
    return bool(re.fullmatch(r"\w[-/]", before) or re.match(r"[-/]\w|[^\W\d]", after))


def _code(line: Line, start: int, text: str, *, strict: bool) -> Span | None:
    """The first word with a digit in it that is no date; strict: the first word must be it."""
    for word in re.finditer(r"[^\s.,;:()]\S*", text):
        end = len(word[0].rstrip(".,;:()")) + word.start()
        place = start + word.start(), start + end
        if re.search(r"\d", word[0]) and not any(a <= place[0] < b for a, b in line.dates):
            return place
        if strict:
            return None
    return None


def _columns(node: ObjectNode) -> dict[str, str] | None:
    """The columns of items that an object's properties are; None where they are something else."""
    found = {name: column_of(name) if _is_printed(leaf) else None for name, leaf in node.properties.items()}
    amounts = [name for name, column in found.items() if column == "amount"]
    if None in found.values() or not any(column in ("amount", "unit_price") for column in found.values()):
        return None
    if len(amounts) > 1:  # a price beside a total is that of one piece
        prices = [name for name in amounts if "price" in words_of(name)]
        found |= dict.fromkeys(prices[:1], "unit_price")
    columns = {name: column for name, column in found.items() if column is not None}
    return columns if len(set(columns.values())) == len(columns) else None


def _is_printed(node: Node) -> bool:
    return isinstance(node, Leaf) and node.choices is None


def _pair_names(node: ObjectNode) -> tuple[str, str] | None:
    """The label's and the value's property of an object that is a pair of a form."""
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
    if isinstance(node, ObjectNode):
        for name, own in node.properties.items():
            yield from [name] if isinstance(own, Leaf) else _leaf_names(own)


def _places(tree: Tree) -> Iterator[Place]:
    if isinstance(tree, Blank):
        yield tree
    elif isinstance(tree, OpenList):
        yield tree
        for own in tree.values:
            yield from _places(own)
    else:
        for own in tree.values() if isinstance(tree, dict) else tree:
            yield from _places(own)


def _json(tree: Tree) -> str:
    if isinstance(tree, dict):
        return (
            "{" + ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {_json(own)}" for name, own in tree.items()) + "}"
        )
    if isinstance(tree, Blank):
        return _first(tree).literal
    return "[" + ", ".join(_json(own) for own in (tree.values if isinstance(tree, OpenList) else tree)) + "]"


def _first(blank: Blank) -> Value:
    return blank.candidates[0] if blank.candidates else Value(None)


def _distinct(values: Sequence[Value]) -> list[Value]:
    return list({value.literal: value for value in reversed(values)}.values())[::-1]
