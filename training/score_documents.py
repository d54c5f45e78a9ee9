"""Scores of whole pages that were read as Markdown, against the truth of the exam's pages.

All are pure functions of texts and boxes. Rates count all pages together.
"""

import html
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

from models.detection import Box

UNREAD = frozenset(
    {"image", "display_formula"}
)  # blocks without text in the truth; formulas have a prompt of their own
HEADINGS = frozenset({"doc_title", "paragraph_title"})
LOST = 0.5  # a printed line that resembles no part of the answer by as much is lost
ALIKE = 0.8  # headings from which one is the other, misread
PLACED = 0.7  # blocks from which their place in the answer is known
MIN_PLACED = 12  # letters; shorter blocks may be anywhere
IOU = 0.7

# A reader may write typographic signs for plain ones; the truth has plain ones.
_PLAIN = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-"})
_RULE_ROW = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_HEADING = re.compile(r"^(#{1,6}) +(.+?) *#*$", re.MULTILINE)
_CELL = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class PageAnswer:
    """A page's truth with what was made of it."""

    name: str
    truth: Mapping[str, Any]  # as `exam_pages.py` writes it
    content: str  # Markdown
    blocks: Sequence[Mapping[str, Any]] = ()  # label, box and parts, as `ocr.blocks` has them
    seconds: float = 0.0
    tesseract: str | None = None


@dataclass
class Tally:
    """What is right out of how much, or wrong: a rate that is made of all pages."""

    part: float = 0
    whole: float = 0

    def add(self, part: float, whole: float) -> None:
        self.part += part
        self.whole += whole

    def rate(self, empty: float = 0.0) -> float:
        return round(self.part / self.whole, 4) if self.whole else empty


@dataclass
class Scores:
    """The exam's measures over any set of pages."""

    tallies: dict[str, Tally] = field(default_factory=dict)

    def add(self, name: str, part: float, whole: float) -> None:
        self.tallies.setdefault(name, Tally()).add(part, whole)

    def rates(self) -> dict[str, float]:
        return {name: tally.rate() for name, tally in self.tallies.items()}


def score(answers: Iterable[PageAnswer]) -> dict[str, float]:
    """All measures; F1 counts both what is missing and what is too much."""
    scores = Scores()
    for answer in answers:
        for name, (part, whole) in page_scores(answer).items():
            scores.add(name, part, whole)
    return scores.rates()


def page_scores(answer: PageAnswer) -> dict[str, tuple[float, float]]:
    """Part and whole of every measure on one page."""
    found = plain(answer.content)
    wanted = truth_text(answer.truth)
    result: dict[str, tuple[float, float]] = {
        "cer": (Levenshtein.distance(found, wanted), len(wanted)),
        "words_lost": lost_words(answer.truth, found),
        "heading_f1": heading_f1(answer.truth, answer.content),
        "order_tau": order_tau(answer.truth, found),
        "table_cells": right_cells(answer.truth, answer.content),
        "block_f1": block_f1(answer.truth, answer.blocks),
    }
    if answer.tesseract is not None:
        other = joined(answer.tesseract)
        result["tesseract_cer"] = (Levenshtein.distance(other, wanted), len(wanted))
        result["tesseract_words_lost"] = lost_words(answer.truth, other)
    return result


# --- text -------------------------------------------------------------------------------------------------------------


def joined(text: str) -> str:
    """Lines made one: hyphens at their ends joined, bullets at their beginnings gone, runs of white space one blank."""
    text = text.translate(_PLAIN)
    text = re.sub(r"^[ \t]*[-*+\u2022\u00b7\u00ab\u00a9] +", "", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=[a-z])-\s*\n\s*(?=[a-z])", "", text)
    text = re.sub(r"(?<=\w)-\s*\n\s*(?=\w)", "-", text)
    return " ".join(text.split())


def plain(markdown: str) -> str:
    """The text of Markdown without its syntax, on one line. Formulas set apart and images are left out."""
    text = re.sub(r"\$\$.*?\$\$", " ", markdown, flags=re.DOTALL)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", " ", text)
    text = re.sub(r"</?(?:table|thead|tbody|tr|t[dh]|br|div|p|img|sup|sub)\b[^>]*>", " ", text)
    lines = []
    for line in text.split("\n"):
        if re.fullmatch(r"\s*(-{3,}|\*{3,})\s*", line) or (_RULE_ROW.match(line) and "|" in line):
            continue
        if line.lstrip().startswith("|"):
            line = " ".join(cell.strip() for cell in _CELL.split(line))
        lines.append(re.sub(r"^ {0,3}#{1,6} +", "", line))
    text = html.unescape(joined("\n".join(lines)))
    text = re.sub(r"(?<!\\)(\*\*|__)(?=\S)(.+?)(?<!\\)\1", r"\2", text)
    return _ESCAPED.sub(r"\1", text)


def truth_text(truth: Mapping[str, Any]) -> str:
    """The text of all blocks in reading order."""
    return " ".join(joined(_text(block)) for block in truth["blocks"] if block["label"] not in UNREAD)


def _text(block: Mapping[str, Any]) -> str:
    if "cells" in block:
        return " ".join(cell for row in block["cells"] for cell in row)
    return str(block["text"])


def lost_words(truth: Mapping[str, Any], found: str) -> tuple[int, int]:
    """Words of the printed lines, or table rows, that the answer has nothing like, and all words.

    Misread lines are not lost: they resemble what is printed.
    """
    lost = total = 0
    for block in truth["blocks"]:
        if block["label"] in UNREAD:
            continue
        rows = [" ".join(row) for row in block["cells"]] if "cells" in block else block["text"].split("\n")
        for line in filter(None, (joined(row) for row in rows)):
            count = len(line.split())
            total += count
            lost += count if resemblance(line, found) < LOST else 0
    return lost, total


def resemblance(piece: str, text: str) -> float:
    """How much the most similar part of the text resembles the piece, 0 to 1."""
    if len(text) <= len(piece):
        return fuzz.ratio(piece, text) / 100
    return fuzz.partial_ratio(piece, text) / 100


# --- headings, order, tables ------------------------------------------------------------------------------------------


def headings(markdown: str) -> list[tuple[int, str]]:
    """Level and text of every heading."""
    return [(len(marks), plain(text)) for marks, text in _HEADING.findall(markdown)]


def heading_f1(truth: Mapping[str, Any], markdown: str) -> tuple[float, float]:
    """Twice the right headings, and headings of both sides.

    A heading is right if it is the same text but for misreadings, and higher, lower or equal to most others of its page
    as in the truth.
    """
    wanted = [(block["level"], joined(block["text"])) for block in truth["blocks"] if block["label"] in HEADINGS]
    found = headings(markdown)
    free = list(range(len(found)))
    pairs: list[tuple[int, int]] = []
    for level, text in wanted:
        best = max(free, key=lambda i: fuzz.ratio(text, found[i][1]), default=None)
        if best is not None and fuzz.ratio(text, found[best][1]) >= 100 * ALIKE:
            free.remove(best)
            pairs.append((level, found[best][0]))
    right = sum(_fits(pair, pairs) for pair in pairs)
    return 2 * right, len(wanted) + len(found)


def _fits(pair: tuple[int, int], pairs: Sequence[tuple[int, int]]) -> bool:
    """Whether a heading's level compares with at least half of the others as it should; itself counts for it."""
    agreeing = sum(_sign(pair[0] - other[0]) == _sign(pair[1] - other[1]) for other in pairs)
    return agreeing >= (len(pairs) + 1) / 2


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def order_tau(truth: Mapping[str, Any], found: str) -> tuple[float, float]:
    """Kendall's tau of places in the answer: pairs of blocks in order less those in reverse, and all pairs."""
    texts = [joined(_text(block)) for block in truth["blocks"] if block["label"] not in UNREAD]
    places = []
    for i, text in enumerate(texts):
        if not MIN_PLACED <= len(text) <= len(found) or any(text in other for other in texts[:i] + texts[i + 1 :]):
            continue  # too short to be found, or to be found in two places
        alignment = fuzz.partial_ratio_alignment(text, found, score_cutoff=100 * PLACED)
        if alignment is not None:
            places.append(alignment.dest_start)
    signs = [_sign(after - before) for before, after in itertools.combinations(places, 2)]
    return sum(signs), len(signs)


def tables(markdown: str) -> list[list[list[str]]]:
    """Texts of the cells of every table, pipe or HTML; spans of HTML's cells are ignored."""
    found = []
    for table in re.findall(r"<table.*?</table>", markdown, flags=re.DOTALL):
        rows = re.findall(r"<tr.*?</tr>", table, flags=re.DOTALL)
        cells = (re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, flags=re.DOTALL) for row in rows)
        found.append([[plain(cell) for cell in row] for row in cells])
    for is_row, lines in itertools.groupby(markdown.split("\n"), key=lambda line: line.lstrip().startswith("|")):
        if is_row:
            rows = [line for line in lines if not _RULE_ROW.match(line)]
            found.append([[plain(cell) for cell in _CELL.split(row.strip().strip("|"))] for row in rows])
    return found


def right_cells(truth: Mapping[str, Any], markdown: str) -> tuple[int, int]:
    """Cells whose text is exact at its row and column, each table compared with the one most like it; all cells."""
    found = tables(markdown)
    right = total = 0
    for block in truth["blocks"]:
        if "cells" in block:
            total += sum(map(len, block["cells"]))
            right += max((_equal_cells(block["cells"], table) for table in found), default=0)
    return right, total


def _equal_cells(wanted: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> int:
    return sum(
        " ".join(cell.split()) == other
        for row, others in zip(wanted, found, strict=False)
        for cell, other in zip(row, others, strict=False)
    )


# --- boxes ------------------------------------------------------------------------------------------------------------


def block_f1(truth: Mapping[str, Any], blocks: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Twice the boxes with the right label at IOU, and boxes of both sides; parts read as one image count each."""
    wanted = [(block["label"], Box(*block["box"])) for block in truth["blocks"]]
    found = list(_boxes(blocks))
    pairs = [
        (iou(box, other), i, j)
        for i, (label, box) in enumerate(wanted)
        for j, (name, other) in enumerate(found)
        if label == name
    ]
    used: set[int] = set()
    taken: set[int] = set()
    for share, i, j in sorted(pairs, reverse=True):
        if share >= IOU and i not in used and j not in taken:
            used.add(i)
            taken.add(j)
    return 2 * len(used), len(wanted) + len(found)


def _boxes(blocks: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Box]]:
    for block in blocks:
        for box in block.get("parts") or [block["box"]]:
            yield block["label"], Box(*box)


def iou(one: Box, other: Box) -> float:
    """Intersection over union."""
    shared = one.shared(other)
    return shared / (one.area + other.area - shared) if shared else 0.0
