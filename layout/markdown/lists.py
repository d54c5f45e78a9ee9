"""Items of lists: how they are told by their markers, and how they are written and nested."""

import re
from dataclasses import dataclass, field

BULLETS = (  # dots, squares, diamonds, arrows and ticks; the last two are what symbol fonts map to
    "\u2022\u00b7\u2219\u2023\u2043\u25aa\u25ab\u25cf\u25cb\u25e6\u25a0\u25a1\u2610\u25c6\u25c7\u2756\u27a2\u25b6\u25ba\u2713\u2714\uf0b7\uf0a7"
)
DASHES = "*+\u2013\u2014"  # they also begin footnotes and speech
_MARKER = re.compile(
    rf"(?P<indent>[ \t]*)(?:(?P<bullet>[{BULLETS}]|[-*+\u2013\u2014](?=\s))"
    r"|(?P<number>\d{1,3})(?P<sign>[.)](?=\s)|[\u3001\uff0e])"
    r"|(?P<other>\((?:\d{1,2}|[A-Za-z]|[ivx]{2,4})\)(?=\s)|[a-z]\)(?=\s)|[\u2460-\u2473]))\s*(?P<text>\S.*)"
)


@dataclass
class Marker:
    """The marker at the start of a line."""

    kind: str  # what items of one level share: the bullet, the sign after a number, the form of another marker
    number: int | None  # None where Markdown has none like it
    indent: int  # blanks before it
    text: str  # the line after the marker; markers that Markdown lacks stay in it
    sure: bool  # whether one alone makes a list; others, as a dash or `(a)`, take two in a block


def marker(line: str) -> Marker | None:
    """The marker of a printed line, None if it begins with none."""
    found = _MARKER.fullmatch(line.rstrip())
    if found is None:
        return None
    indent, text = len(found["indent"].expandtabs(4)), found["text"]
    if found["bullet"]:
        return Marker(found["bullet"], None, indent, text, sure=found["bullet"] not in DASHES)
    if found["number"]:
        sign = ")" if found["sign"] == ")" else "."
        return Marker(sign, int(found["number"]), indent, text, sure=True)
    form = re.sub(r"\w", "a" if found["other"].strip("()").isalpha() else "1", found["other"])
    return Marker(re.sub(r"a+", "a", re.sub(r"1+", "1", form)), None, indent, f"{found['other']} {text}", sure=False)


@dataclass
class ListWriter:
    """Markers of the items of one list, as Markdown has them, nested by indent and by a change of kind."""

    _open: list[tuple[int, str, int]] = field(default_factory=list)  # indent, kind and width of the items above
    _numbers: dict[int, int] = field(default_factory=dict)  # depth -> last number

    def fits(self, item: Marker) -> bool:
        """Whether Markdown would show the item's own number: it counts on from the first one of a list."""
        depth = self._depth(item)
        return item.number is None or depth not in self._numbers or item.number == self._numbers[depth] + 1

    def begin(self, item: Marker) -> str:
        """What comes before the item's text."""
        depth = self._depth(item)
        text = "- " if item.number is None else f"{item.number}{item.kind} "
        blanks = " " * sum(width for _, _, width in self._open[:depth])
        self._open[depth:] = [(item.indent, item.kind, len(text))]
        self._numbers = {at: number for at, number in self._numbers.items() if at <= depth}
        if item.number is None:
            self._numbers.pop(depth, None)
        else:
            self._numbers[depth] = item.number
        return blanks + text

    def _depth(self, item: Marker) -> int:
        for depth, (indent, kind, _) in enumerate(self._open):
            if item.indent < indent - 1 or (abs(item.indent - indent) <= 1 and kind == item.kind):
                return depth
        return len(self._open)
