"""The pairs of a form: labels with what is written behind, below or between their lines, and boxes that are ticked."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from modes.boxes import label_of_boxes, ticked
from modes.form_labels import FORM_LABELS
from modes.labels import NEXT_LABEL, is_address
from modes.page import PageText, Span, TextLine
from modes.wording import key_of, listed, one_of

MAX_LABEL = 60  # characters
MAX_MORE = 3  # lines that an address goes on for
_NUMBERED = re.compile(r"\s*(?:[-•*]\s+)?(?:\(?(?:\d{1,3}[a-z]?|[a-z]|[ivx]{1,4})[.)](?:\d+[.)]?)*\s*)?", re.IGNORECASE)
_PAIR = re.compile(rf"(?P<label>[^\W\d_][^:：\n\t]{{0,{MAX_LABEL}}}?)\s?(?<!\d)[:：](?!//)\s*(?P<value>.*)", re.DOTALL)
_CJK_LABEL = re.compile(r"[\s\t](?=[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{1,8}\s?[:：])")
_TABLE_HEADS = frozenset("field value label question answer feld wert champ valeur campo valor".split())
_LINES = re.compile(r"_{2,}")


@dataclass(frozen=True)
class Pair:
    """A label with its value; no spans: nothing is written there."""

    label: Span
    values: tuple[Span, ...] = ()
    separator: str = " "  # between several values


@cache
def known_labels() -> tuple[re.Pattern[str], frozenset[str]]:
    phrases = [phrase for _, _, phrase in listed({"": FORM_LABELS})]
    return one_of(phrases), frozenset(map(key_of, phrases))


def pairs_of(page: PageText) -> list[Pair]:
    """The pairs of a form in their order."""
    found: list[Pair] = []
    above = _labels_above(page)
    taken: set[int] = set()
    for index, line in enumerate(page.lines):
        if index in taken:
            continue
        if index in above:
            found.append(_above(page, index))
            taken.add(index + 1)
            continue
        if (drawn := _on_lines(page, line)) or (drawn := _cells(line)) or (drawn := _before_boxes(line)):
            found += drawn
            continue
        for piece in _pieces(line):
            pair = _pair(page, index, piece, taken)
            if pair is not None:
                found.append(pair)
    return found


def _pair(page: PageText, index: int, piece: Span, taken: set[int]) -> Pair | None:
    """The label with a colon in a part of a line, with its value: behind it, or on the line below."""
    line = page.lines[index]
    start = _NUMBERED.match(line.text, *piece).end()  # type: ignore[union-attr]  # it always matches
    match = _PAIR.match(line.text, start, piece[1])
    if match is None:
        return None
    label = line.trimmed(match.span("label"))
    if match["value"].strip(" \t_") != "":
        value = _value(line, match.span("value"))
        return (
            Pair(label, value if value is not None else (), ", ")
            if value != (line.trimmed(match.span("value")),)
            else (Pair(label, (*value, *_more(page, index, label, taken))))
        )
    below = page.lines[index + 1] if index + 1 < len(page.lines) else None
    labelled = below is not None and any(label.start == 0 for label in below.labels)
    if below is None or piece[1] != len(line.text) or labelled or _is_label(below):
        return Pair(label)
    taken.add(index + 1)
    values = _value(below, (0, len(below.text))) or ()
    more = tuple(_more(page, index + 1, label, taken))
    return Pair(label, (*values, *more), " " if more else ", ")


def _value(line: TextLine, span: Span) -> tuple[Span, ...] | None:
    """The places of a value: what is ticked, if there are boxes, else the whole."""
    boxes = ticked(line.text, span)
    if boxes is None:
        return (line.trimmed(span),)
    return tuple(line.trimmed(own) for own in boxes) or None


def _more(page: PageText, index: int, label: Span, taken: set[int]) -> Iterator[Span]:
    """The lines on which an address goes on."""
    if not is_address(page.views.folded[slice(*label)]):
        return
    for place in range(index + 1, min(index + 1 + MAX_MORE, len(page.lines))):
        line = page.lines[place]
        if _is_label(line) or not line.text.strip():
            return
        taken.add(place)
        yield line.trimmed((0, len(line.text)))


def _is_label(line: TextLine) -> bool:
    start = _NUMBERED.match(line.text).end()  # type: ignore[union-attr]
    _, known = known_labels()
    return _PAIR.match(line.text, start) is not None or key_of(line.folded.strip()) in known


def _pieces(line: TextLine) -> list[Span]:
    """The pairs of a line: it is split before each further label with a colon, and at tabs."""
    known = [
        match.start()
        for match in known_labels()[0].finditer(line.folded)
        if re.match(r"\s?:", line.folded[match.end() :])
        and line.folded[match.start() - 1].isspace()
        and ":" in line.folded[: match.start()]
    ]
    starts = {0, *known}
    for split in (NEXT_LABEL, _CJK_LABEL):
        for match in split.finditer(line.text):
            inside = any(match.end() < place < line.folded.find(":", match.end()) for place in known)
            if not inside and _PAIR.search(line.text[: match.start()]):
                starts.add(match.end())
    starts |= {
        match.end()
        for match in re.finditer(r"\t\s*(?=[^\n\t:]{1,60}:)", line.text)
        if line.text[: match.start()].strip()
    }
    ordered = sorted(starts)
    return list(zip(ordered, [*ordered[1:], len(line.text)], strict=True))


# --- labels above their values ---------------------------------------------------------------------------------------


def _labels_above(page: PageText) -> set[int]:
    """Indices of labels without a colon whose values are on the next lines.

    Known labels are some; where two of them are an even number of lines apart and no line has a colon, so are those
    between and after them.
    """
    _, known = known_labels()
    lines = page.lines
    alone = [index for index, line in enumerate(lines[:-1]) if key_of(line.folded.strip(" .*")) in known]
    found = {index for index in alone if not _is_label(lines[index + 1])}
    found -= {index for index in found if re.search(r"[:：]", lines[index + 1].text) and ":" in lines[index].text}
    colons = any(re.search(r"[:：]\s", line.text + " ") for line in lines)
    regular = len(found) > 1 and len({index % 2 for index in alone}) == 1 and not colons
    return found | set(range(min(found), len(lines) - 1, 2)) if regular else found


def _above(page: PageText, index: int) -> Pair:
    label, value = page.lines[index], page.lines[index + 1]
    return Pair(label.trimmed((0, len(label.text))), _value(value, (0, len(value.text))) or (), ", ")


# --- lines to write on, and tables -----------------------------------------------------------------------------------


def _on_lines(page: PageText, line: TextLine) -> list[Pair]:
    """`Name ____Ann____ Date ______`: labels without colons before lines; what touches a line is written on it."""
    raw = page.text[line.start : line.start + len(line.text)]
    if ":" in line.folded or not _LINES.search(raw) or not re.match(r"\s*[^\W\d_]", raw):
        return []
    found: list[Pair] = []
    edges = [(0, 0), *(match.span() for match in _LINES.finditer(raw)), (len(raw), len(raw))]
    for (_, start), (end, _) in itertools.pairwise(edges):
        text = raw[start:end]
        if not text.strip():
            continue
        if found and start > 0 and (not text.startswith(" ") or not _is_followed_by_line(raw, end)):
            found[-1] = Pair(found[-1].label, (*found[-1].values, line.trimmed((start, end))))
        else:
            found.append(Pair(line.trimmed((start, end))))
    return found


def _before_boxes(line: TextLine) -> list[Pair]:
    """`Member? ☒ Yes ☐ No`: a label without a colon before its boxes."""
    place = label_of_boxes(line.text)
    if place is None or re.search(r"[:：]", line.text[: place[1]]):
        return []
    return [Pair(line.trimmed(place), _value(line, (place[1], len(line.text))) or (), ", ")]


def _is_followed_by_line(raw: str, end: int) -> bool:
    return raw[end : end + 2] == "__"


def _cells(line: TextLine) -> list[Pair]:
    """A row of a table of two cells: a label and its value."""
    if "\t" not in line.text or re.search(r":", line.folded):
        return []
    edges = [-1, *(match.start() for match in re.finditer("\t", line.text)), len(line.text)]
    cells = [(a + 1, b) for a, b in itertools.pairwise(edges)]
    inner = cells[1:-1] if len(cells) > 3 and not any(line.text[slice(*cells[i])].strip() for i in (0, -1)) else cells
    filled = [cell for cell in inner if line.text[slice(*cell)].strip()]
    if (
        len(inner) != 2
        or not filled
        or filled[0] != inner[0]
        or not re.match(r"\s*[^\W\d_]", line.text[slice(*inner[0])])
    ):
        return []
    if line.folded[slice(*inner[0])].strip() in _TABLE_HEADS:
        return []
    values = _value(line, inner[1]) if len(filled) == 2 else None
    return [Pair(line.trimmed(inner[0]), values or (), ", ")]


def joined(page: PageText, pair: Pair) -> str | None:
    """A pair's value as text; None where nothing is written."""
    texts: Sequence[str] = [page.shown(span) for span in pair.values]
    return pair.separator.join(text for text in texts if text) or None
