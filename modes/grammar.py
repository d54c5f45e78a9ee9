"""The grammar of the model's answer to a form's questions: it can write nothing that is not on the page."""

import json
from collections.abc import Mapping

from modes.answer_tree import Entry, OpenList
from modes.page import CHUNK, PageText
from modes.schemas import ArrayNode, Leaf, Node, ObjectNode
from modes.values import Value

MAX_ROWS = 32  # in a list that the model writes
NULL = "null"


def grammar_of(questions: Mapping[str, Entry], page: PageText) -> str:
    """The grammar in llguidance's Lark: an object of the questions' paths, each with a value that is on the page."""
    rules = _Rules(page)
    parts = [f"{_lark(json.dumps(path) + ':')} {rules.of(entry)}" for path, entry in questions.items()]
    inside = f" {_lark(',')} ".join(parts)
    return "\n".join([f'start: "{{" {inside} "}}"', *rules.lines])


class _Rules:
    """The Lark rules of questions; words and numbers of the page are written once and shared."""

    def __init__(self, page: PageText) -> None:
        self._page = page
        self.lines: list[str] = []
        self._shared: dict[str, str] = {}  # kind of value -> rule

    def of(self, entry: Entry) -> str:
        if isinstance(entry, OpenList):
            return self._node(entry.node)
        if entry.open_ended:
            return self._anything(entry.leaf)
        return self._rule(" | ".join(_lark(value.literal) for value in entry.candidates))

    def _node(self, node: Node) -> str:
        if isinstance(node, ObjectNode):
            parts = [f"{_lark(json.dumps(name) + ':')} {self._node(own)}" for name, own in node.properties.items()]
            inside = f" {_lark(',')} ".join(parts)
            return self._rule(f'"{{" {inside} "}}"')
        if isinstance(node, ArrayNode):
            one = self._node(node.items)
            max_items = min(MAX_ROWS if node.max_items is None else node.max_items, MAX_ROWS)
            return self._rule(f'"[" "]" | "[" {one} ("," {one}){{0,{max_items - 1}}} "]"' if max_items else '"[" "]"')
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
            # A word or mark at both ends, on one line, with a letter or digit in it; no quote that JSON would escape.
            self.lines.append(r'WORDS: CHUNKS & /\S([^\x00-\x1f"\\]*\S)?/ & /[^\x00-\x1f"\\]*\w[^\x00-\x1f"\\]*/')
            parts = [_lark(NULL), f"{_lark(chr(34))} WORDS {_lark(chr(34))}"]
        else:
            found = {value for line in self._page.lines for own in line.numbers for value in (own.value, *own.others)}
            values = {value for value in found if kind == "number" or value == int(value)}
            parts = [_lark(NULL), *(_lark(str(value)) for value in sorted(values))]
        self._shared[kind] = self._rule(" | ".join(parts))
        return self._shared[kind]

    def _rule(self, body: str) -> str:
        name = f"r{len(self.lines)}"
        self.lines.append(f"{name}: {body}")
        return name


def _lark(text: str) -> str:
    """A string literal of Lark, which is written like one of JSON."""
    return json.dumps(text, ensure_ascii=False)
