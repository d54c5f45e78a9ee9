"""Printed lines -> running text: which line ends are only where the column ended, and how lines are joined."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

from layout.markdown.escape import STANDS_FOR_FORMULA

End: TypeAlias = Literal["joined", "break", "paragraph"]

FORMULA_EMS = 2.0  # width of a formula within a line, in em; only an order of magnitude
LONG = 20.0  # em; a shorter text may be a name or a label, which ends without a sign
NEAR = 100  # characters before a line end that tell which script the text is in
ROOM = 0.8  # a line whose end left room for the next word, within this share of the longest, ended on purpose
WIDEST_PITCH = 2.2  # em from line to line, in text set with much space
NARROWEST_PITCH = 1.15  # em from line to line, in text set solid

HYPHENS = "-\u2010\u00ad\u00ac"  # hyphen-minus, hyphen, soft hyphen, and the sign that some sources print for it
SOFT = "\u00ad"
DASH = "\u2014"  # stands between words without blanks in English print
_KEPT_PREFIXES = {"well", "self"}  # compounds with them keep their hyphen in most cases
_SUSPENDED = {"und", "oder", "bis", "sowie", "and", "or", "to", "et", "ou", "y", "o", "e"}
"""Words after a hyphen that stands for an omitted part: `pre- and postwar`."""
_CJK = re.compile(  # without Korean, which has blanks between words
    r"[\u3001-\u303f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff60\U00020000-\U0003134f]"
)
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")  # Thai, Lao, Burmese, Khmer
_END = re.compile(  # a sign that ends a sentence, in Latin, Chinese, Arabic or Hindi, and what may stand after it
    "[.!?:;\u2026\u3002\uff0e\uff01\uff1f\uff1a\uff1b\u061f\u06d4\u0964]"
    "[\"'\u2019\u201d\u00bb)\\]\u300d\u300f\uff09*\u00b9\u00b2\u00b3]*\\Z"
)


def ems(text: str) -> float:
    """Width of a text in em, as most fonts set it: half an em for a letter, one for a wide character."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    formulas = len(STANDS_FOR_FORMULA.findall(text))
    return wide + formulas * FORMULA_EMS + 0.5 * (len(text) - wide - formulas)


def ended(text: str) -> bool:
    """Whether the text ends like a sentence, or introduces what follows it."""
    return bool(_END.search(text.rstrip()))


def glue(before: str, after: str) -> tuple[int, str]:
    """How two pieces are joined: characters dropped from the end of `before`, and what comes between them."""
    if not before or not after:
        return 0, ""
    last, first = before[-1], after[0]
    if last in HYPHENS and len(before) > 1:
        return _after_hyphen(before, after)
    if last == DASH and not before[-2:-1].isspace():
        return 0, ""
    if any(signs.match(last) and signs.match(first) for signs in (_CJK, _UNSPACED)):
        return 0, ""
    mixed = bool(_CJK.match(last)) != bool(_CJK.match(first))
    near = before[-NEAR:]
    return 0, "" if mixed and 2 * len(_CJK.findall(near)) > len(near) else " "


def _after_hyphen(before: str, after: str) -> tuple[int, str]:
    if before[-1] == SOFT:
        return 1, ""
    stem, word = before[:-1].split()[-1:], after.split()[0]
    if not stem or before[-2].isspace():  # a dash between blanks
        return 0, " "
    if word.strip(".,;:").lower() in _SUSPENDED:
        return 0, " "
    soft = stem[0].strip("\"'(\u201c\u2018[").isalpha() and after[0].islower()
    return (1, "") if soft and stem[0].lower() not in _KEPT_PREFIXES else (0, "")


def join(pieces: Sequence[str]) -> str:
    """Printed lines as one line."""
    text = ""
    for piece in pieces:
        dropped, between = glue(text, piece)
        text = text[: len(text) - dropped] + between + piece
    return text


def ends(lines: Sequence[str], size: tuple[float, float]) -> list[End]:
    """What each line end but the last is, in a block of `size` (width, height) in pixels. "" marks an empty line."""
    filled = [line for line in lines if line]
    if are_paragraphs(filled, size):
        return [_between_paragraphs(one, other) for one, other in pairwise(lines)]
    longest = max(map(ems, filled), default=0)
    pairs = list(pairwise(lines))
    roomy = [_had_room(one, other, longest) for one, other in pairs]
    ragged = len(pairs) > 1 and 2 * sum(roomy) >= len(pairs)  # an address, a poem: each line ends on purpose
    return [_between_lines(one, other, room, ragged) for (one, other), room in zip(pairs, roomy, strict=True)]


def are_paragraphs(lines: Sequence[str], size: tuple[float, float]) -> bool:
    """Whether the model joined printed lines itself, so that a line end in its text ends a paragraph.

    Told by the longest line: printed on one line, in letters as small as the block's height allows, it would still be
    wider than the block.
    """
    width, height = size
    pitch = height / max(len(lines), 1)
    return max(map(ems, lines), default=0) * pitch / WIDEST_PITCH > width


def printed_lines(lines: Sequence[str], size: tuple[float, float]) -> int:
    """Number of lines that a block of `size` was printed in: those of the text, or more where the model joined them."""
    width, height = size
    count = max(len(lines), 1)
    while count < 8 and sum(map(ems, lines)) * height / count / NARROWEST_PITCH > count * width * 1.2:
        count += 1
    return count


def _between_paragraphs(one: str, other: str) -> End:
    return "joined" if one and other and not ended(one) and other[0].islower() else "paragraph"


def _between_lines(one: str, other: str, room: bool, ragged: bool) -> End:
    if not one or not other:
        return "paragraph"
    if not ended(one) and other[0].islower() and not ragged:
        return "joined"
    if room and ended(one) and not ragged:
        return "paragraph"
    return "break" if room or ragged else "joined"


def _had_room(one: str, other: str, longest: float) -> bool:
    """Whether the next word would have fitted on the line, so that it ended on purpose."""
    if not one or not other or one[-1] in HYPHENS:
        return False
    word = other[0] if _CJK.match(other) else other.split()[0]
    return ems(one) + ems(word) + 0.5 < ROOM * longest
