"""A pattern of many phrases that is as fast as one of few: phrases that begin alike are tried together."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

_END = ""  # key of a node at which a phrase ends, with the pattern that must follow


def pattern_of(phrases: Iterable[tuple[Sequence[str], str]]) -> str:
    """The pattern of phrases, each as its parts and what must follow it; a longer phrase goes before a shorter one.

    A part is one character as it stands, or a pattern of several.
    """
    root: dict[str, Any] = {}
    for parts, end in phrases:
        node = root
        for part in parts:
            node = node.setdefault(re.escape(part) if len(part) == 1 else part, {})
        node[_END] = end
    return _pattern(root)


def _pattern(node: dict[str, Any]) -> str:
    children = [part + _pattern(own) for part, own in node.items() if part != _END]
    end = [node[_END]] if _END in node else []
    return children[0] if len(children) == 1 and not end else f"(?:{'|'.join([*children, *end])})"
