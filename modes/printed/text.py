"""A transcript in views of equal length, so that a place in one is the same place in all of them.

Numbers, dates and labels are looked for in the views that are even; values are copied from the one as it stands.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

GROUP_SPACE = "\u00a0"
"""The space that never parts two numbers: no-break, thin and figure spaces."""

_SPACES = dict.fromkeys("\u00a0\u202f\u2009\u2007\u2008\u200a", GROUP_SPACE)
_ALIKE = {
    **_SPACES,
    **dict.fromkeys("\u3000\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\ufeff", " "),
    **dict.fromkeys("’‘ʼ´`′", "'"),
    **dict.fromkeys("−–—‒―﹣－", "-"),
    **{
        "٫": ".",
        "٬": ",",
        "٪": "%",
        "，": ",",
        "．": ".",
        "：": ":",
        "￥": "¥",
        "￡": "£",
        "￠": "¢",
        "×": "x",
        "°": "º",
    },
}
"""Characters that mean the same in numbers and labels."""

_OTSL = re.compile(r"<(?:fcel|ecel|lcel|ucel|xcel)>")
_ROW_END = re.compile(r"<nl>|<br\s*/?>|</(?:tr|p|div|h\d)>", re.IGNORECASE)
_CELL_END = re.compile(r"</t[dh]>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>\n]{0,80}>", re.IGNORECASE)
_RULE = re.compile(r"^[ \t]*+(?:\|[ \t]*+)?:?-{2,}+:?[ \t]*+(?:\|[ \t]*+:?-{2,}+:?[ \t]*+)*\|?[ \t]*$", re.MULTILINE)
_PIPE = re.compile(r"\|")
_HEADING = re.compile(r"^[ \t]{0,3}(?:#{1,6}|>)(?=\s)", re.MULTILINE)
_EMPHASIS = re.compile(r"\*\*+|__+|`+|~~+")
_LEADER = re.compile(r"[.·…]{3,}|(?:[.·] ){3,}[.·]?|_{2,}|-{4,}|={3,}")


@dataclass(frozen=True)
class Views:
    """A text as it stands and made even; all have its length."""

    shown: str
    """As it stands. Marks of Markdown, leaders and lines to write on are blanks, edges of cells are tabs."""
    plain: str
    """`shown` with ASCII digits, points, commas, hyphens and apostrophes."""
    folded: str
    """`plain` in lower case without accents."""


def views_of(text: str) -> Views:
    shown = _without_markup(text)
    plain = "".join(map(_plain, shown))
    return Views(shown, plain, folded(plain))


def folded(text: str) -> str:
    """A text in even characters, in lower case, without accents, of the same length."""
    return "".join(_folded(_plain(character)) for character in text)


def _without_markup(text: str) -> str:
    text = _ROW_END.sub(lambda match: "\n" + " " * (len(match[0]) - 1), text)
    for cells in (_OTSL, _CELL_END):
        text = cells.sub(lambda match: "\t" + " " * (len(match[0]) - 1), text)
    text = _TAG.sub(_blank, text)
    text = _RULE.sub(_blank, text)
    for marks in (_HEADING, _EMPHASIS):
        text = marks.sub(_blank, text)
    text = _LEADER.sub(lambda match: " " * (len(match[0]) - 1) + "\t", text)
    return _PIPE.sub("\t", text)


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])


@cache
def _plain(character: str) -> str:
    if character in _ALIKE:
        return _ALIKE[character]
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.digit(character))
    if "\uff01" <= character <= "\uff5e":  # the full-width form of an ASCII character
        return chr(ord(character) - 0xFEE0)
    return character


@cache
def _folded(character: str) -> str:
    lower = character.lower()
    lower = lower if len(lower) == 1 else character
    parts = unicodedata.normalize("NFD", lower)
    has_accent = ord(lower) < 0x530 or 0x1E00 <= ord(lower) < 0x2000  # Latin, Greek, Cyrillic; no kana
    if len(parts) > 1 and has_accent and all(unicodedata.category(part) == "Mn" for part in parts[1:]):
        return parts[0]
    return {"ł": "l", "ø": "o", "đ": "d"}.get(lower, lower)
