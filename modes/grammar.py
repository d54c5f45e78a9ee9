"""The grammar of the model's answer to a form's questions, in llguidance's Lark."""

import json
import re

from modes.page import PageText
from modes.places import OpenList, Place, Value
from modes.schemas import ArrayNode, Leaf, Node, ObjectNode
from modes.values import numbers

NULL = "null"
MAX_ROWS = 32  # in a list that the model writes
CHUNK = re.compile(r"\s+|\w+(?:[^\w\s]+\w+)*|[^\w\s]+")
"""Blanks, words with the marks inside them (`O'Brien`, `12.50`), other marks: the model copies each whole or not."""


class QuestionGrammar:
    """The Lark rules of open places, each rule written once."""

    def __init__(self, page: PageText) -> None:
        self._page = page
        self.lines: list[str] = []
        self._shared: dict[str, str] = {}

    def of(self, place: Place) -> str:
        if isinstance(place, OpenList):
            return self._node(place.node)
        if place.anything:
            return self._anything(place.leaf)
        return self._rule(" | ".join(lark_string(value.literal) for value in place.candidates))

    def _node(self, node: Node) -> str:
        if isinstance(node, ObjectNode):
            parts = [
                f"{lark_string(json.dumps(name) + ':')} {self._node(own)}" for name, own in node.properties.items()
            ]
            inside = f" {lark_string(',')} ".join(parts)
            return self._rule(f'"{{" {inside} "}}"')
        if isinstance(node, ArrayNode):
            one, count = self._node(node.items), min(MAX_ROWS if node.max_items is None else node.max_items, MAX_ROWS)
            return self._rule(f'"[" "]" | "[" {one} ("," {one}){{0,{count - 1}}} "]"' if count else '"[" "]"')
        if node.choices is not None:
            return self._rule(" | ".join(lark_string(Value(choice).literal) for choice in node.choices))
        return self._anything(node)

    def _anything(self, leaf: Leaf) -> str:
        """Any run of whole words of one line, or any number, or null."""
        kind = "words" if leaf.kind == "string" else leaf.kind
        if kind in self._shared:
            return self._shared[kind]
        if kind == "words":
            chunks = CHUNK.findall(self._page.text)
            self.lines.append(f"CHUNKS: %regex {json.dumps({'substring_chunks': chunks}, ensure_ascii=False)}")
            # From a word or mark to another on one line, with a letter or digit; no quote that JSON would escape.
            self.lines.append(r'WORDS: CHUNKS & /\S([^\x00-\x1f"\\]*\S)?/ & /[^\x00-\x1f"\\]*\w[^\x00-\x1f"\\]*/')
            parts = [lark_string(NULL), f"{lark_string(chr(34))} WORDS {lark_string(chr(34))}"]
        else:
            found = numbers(self._page.text, self._page.mark)
            values = {own.value for own in found if kind == "number" or own.value == int(own.value)}
            parts = [lark_string(NULL), *(lark_string(str(value)) for value in sorted(values))]
        self._shared[kind] = self._rule(" | ".join(parts))
        return self._shared[kind]

    def _rule(self, body: str) -> str:
        name = f"r{len(self.lines)}"
        self.lines.append(f"{name}: {body}")
        return name


def lark_string(text: str) -> str:
    """A string of Lark: written as JSON's are."""
    return json.dumps(text, ensure_ascii=False)
