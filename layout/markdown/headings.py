"""Titles of a document -> levels of headings, by their numbers, their size and their words.

`#` is for titles of the document; sections begin at `##`. Numbers come first: `2.1` lies one level below `2`, and a
kind of number that is new, as `A.`, takes the level of titles of its size, or else lies below the title before it. A
title without a number takes the level of titles of its size.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log
from statistics import fmean

DOCUMENT, TOP, DEEPEST = 1, 2, 6  # levels; HTML has no deeper ones
SAME_SIZE = 1.12  # titles of one size differ by up to this factor
# Ems, as Latin fonts have them: from line to line of a title, and what letters reach over and under their line.
PITCH, TALL, LOW, DEEP = 1.05, 0.72, 0.5, 0.22
SQUARE = "\u2e80"  # from here on, letters fill their em

_DECIMAL = re.compile(r"(?:§\s*)?(\d{1,3}(?:[.．]\d{1,3})*)[.．]?(?=[\s)、:：]|[A-Z][a-z]|[^\W\d_a-zA-Z]|\Z)")
_HAN = "[一二三四五六七八九十百]"
_NUMBERS = (  # kind and form
    ("part", re.compile(rf"(?:part|book|teil|partie)\s+\w+\b|第\s*(?:{_HAN}+|\d+)\s*[编編篇部]", re.I)),
    ("chapter", re.compile(rf"(?:chapter|kapitel|chapitre|capítulo)\s+\w+\b|第\s*(?:{_HAN}+|\d+)\s*章", re.I)),
    ("section", re.compile(rf"第\s*(?:{_HAN}+|\d+)\s*[节節]")),
    ("appendix", re.compile(rf"(?:appendix|annex|anhang|annexe)\b|(?:附录|附錄|附件)\s*(?:[A-Z\d]|{_HAN})*", re.I)),
    ("(一)", re.compile(rf"[(（]{_HAN}+[)）]")),
    ("一", re.compile(rf"{_HAN}+[、.．]")),
    ("roman", re.compile(r"(?=[IVX])X{0,3}(?:IX|IV|V?I{0,3})[.)．](?=\s|[^\W\d_]{2})")),
    ("letter", re.compile(r"[A-Z][.)．](?=\s)")),
    ("(1)", re.compile(r"[(（]\d{1,2}[)）]")),
    ("1)", re.compile(r"\d{1,2}\)")),
    ("small letter", re.compile(r"\(?[a-z]\)")),
)
_ABOVE_NUMBERS = ("part", "chapter", "section")  # kinds that contain `1`, outermost first
_TOP_WORDS = re.compile(
    r"(?:abstract|summary|acknowledge?ments?|references|bibliography|contents|table of contents|glossary|index|preface"
    r"|foreword|zusammenfassung|literatur(?:verzeichnis)?|inhalt(?:sverzeichnis)?|danksagung|résumé|références"
    r"|摘\s*要|目\s*录|目\s*錄|参\s*考\s*文\s*献|參考文獻|致\s*谢|前\s*言|謝辞)\W*\Z",
    re.I,
)


@dataclass(frozen=True)
class Title:
    """A title that a layout network found."""

    text: str  # on one line
    document: bool  # whether its label is that of a document's title
    size: float  # its letters' as `letter_size` has it, over the page's side (the root of its area)


@dataclass(frozen=True)
class _Number:
    kind: str
    depth: int = 1  # parts of a decimal number


def levels(titles: Sequence[Title]) -> list[int]:
    """The level of each title, 1 to 6. The more titles of the document are known, the better sizes can tell."""
    first = next((index for index, title in enumerate(titles) if title.document), None)
    numbers = [_number(title.text) for title in titles]
    documents = [title.document and (index == first or numbers[index] is None) for index, title in enumerate(titles)]
    found: list[int | None] = [DOCUMENT if document else None for document in documents]
    _number_levels(titles, numbers, found)
    _word_levels(titles, found)
    _size_levels(titles, found)
    return [min(level or TOP, DEEPEST) for level in found]


def letter_size(first: str, last: str, count: int, height: float) -> float:
    """The em of a title of `count` lines in pixels, from the first and the last, and from the height of its box.

    Boxes are as high as the letters in them: a word without descenders has a lower one.
    """
    if max(first) >= SQUARE:
        return height / (1 + PITCH * (count - 1))
    above = TALL if any(one.isupper() or one.isdigit() or one in "bdfhijklt()[]{}|/" for one in first) else LOW
    below = DEEP if any(one in "gjpqyçQ()[]{}|/;" for one in last) else 0.0
    return height / (above + PITCH * (count - 1) + below)


def _number(text: str) -> _Number | None:
    for kind, form in _NUMBERS:
        if form.match(text):
            return _Number(kind)
    found = _DECIMAL.match(text)
    return _Number("decimal", len(re.split("[.．]", found[1]))) if found else None


def _number_levels(titles: Sequence[Title], numbers: Sequence[_Number | None], found: list[int | None]) -> None:
    """Set the levels of titles with numbers."""
    outer = [kind for kind in _ABOVE_NUMBERS if any(number and number.kind == kind for number in numbers)]
    known: dict[str, int] = {kind: TOP + place for place, kind in enumerate(outer)}
    known |= {"appendix": TOP}
    if any(number and number.kind == "decimal" for number in numbers):
        known["decimal"] = TOP + len(outer) - (1 if outer and _continue_outer(numbers) else 0)
    last = TOP - 1
    for index, number in enumerate(numbers):
        if number is None or found[index] is not None:
            continue
        if number.kind not in known:
            known[number.kind] = _level_by_size(titles, found, index) or last + 1
        last = found[index] = known[number.kind] + number.depth - 1


def _continue_outer(numbers: Iterable[_Number | None]) -> bool:
    """Whether decimal numbers begin with the number of a chapter: no title has a decimal number of one part."""
    return not any(number == _Number("decimal") for number in numbers)


def _word_levels(titles: Sequence[Title], found: list[int | None]) -> None:
    """Set the levels of titles that head a part of nearly any document."""
    for index, title in enumerate(titles):
        if found[index] is None and _TOP_WORDS.match(title.text):
            found[index] = TOP


def _size_levels(titles: Sequence[Title], found: list[int | None]) -> None:
    """Set all other levels: that of the titles of one size, in a ladder without a missing step."""
    known = sorted({level for level in found if level is not None and level != DOCUMENT})
    mean = {at: fmean(_sizes(titles, found, at)) for at in known}
    left = [index for index, level in enumerate(found) if level is None]
    if not mean:
        for level, group in enumerate(_clusters(titles, left), TOP):
            for index in group:
                found[index] = level
        return
    for index in left:
        size = titles[index].size
        near = min(mean, key=lambda level: (round(abs(log(size / mean[level])), 6), level))
        smaller = size * SAME_SIZE < min(mean.values())
        found[index] = max(mean) + 1 if smaller else near


def _clusters(titles: Sequence[Title], indices: Sequence[int]) -> list[list[int]]:
    """Titles of about one size, the largest first."""
    groups: list[list[int]] = []
    for index in sorted(indices, key=lambda index: -titles[index].size):
        if groups and titles[groups[-1][0]].size <= titles[index].size * SAME_SIZE:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _level_by_size(titles: Sequence[Title], found: Sequence[int | None], index: int) -> int | None:
    """The level of numbered titles before this one that are of its size, if only one level is."""
    sizes = {at: fmean(_sizes(titles, found[:index], at)) for at in set(found[:index]) - {None, DOCUMENT} if at}
    if len(sizes) < 2 and not _differs(titles[index].size, sizes.values()):
        return None
    near = [at for at, size in sizes.items() if not _differs(titles[index].size, [size])]
    return near[0] if len(near) == 1 else None


def _sizes(titles: Sequence[Title], found: Sequence[int | None], level: int) -> list[float]:
    return [title.size for title, at in zip(titles, found, strict=False) if at == level]


def _differs(size: float, others: Iterable[float]) -> bool:
    return any(not 1 / SAME_SIZE <= size / other <= SAME_SIZE for other in others)
