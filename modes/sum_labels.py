"""What a line of sums is about: its words together say whether it is a subtotal, a tax, a total or something beside."""

import re
from dataclasses import dataclass
from functools import cache

from modes.beside_words import BESIDE, FILLERS
from modes.printed.currencies import after_number
from modes.sum_words import WORDS
from modes.wording import key_of, listed, normal, one_of

MAX_HEAD = 80  # characters of a label
BESIDE_KINDS = tuple(BESIDE)
DECIDES = ("suggestion", "saved", "rounding", "tip", "change", "paid", "count", "charge", "discount")
"""Kinds beside the sums, the stronger first where a label has words of several."""

_DOCUMENT = re.compile(r"(?:tax|vat|gst|sales|commercial|pro ?forma) invoice(?! total)|faktura vat|tax receipt")
_ASIDE = re.compile(r"\(\s*\d+[^()%]*\)?|(?<=\w)\s+\d+\s?(?:items?|articles?|artikel|guests?|persons?|pcs|uds|art)\b")
"""A count in a label: `Total (3 items)`."""
_RATE = re.compile(r"\(?\d+(?:[.,]\d+)?\s?%\)?")
_LETTERS = re.compile(r"[^\W\d_]+(?:[.'/][^\W\d_]+)*")


@dataclass(frozen=True)
class SumLabel:
    """The meaning of a label of sums."""

    kind: str  # subtotal | tax | total, or one of BESIDE_KINDS
    rank: int  # how surely it names the one sum of the page
    languages: tuple[str, ...] = ()


@cache
def _table() -> tuple[re.Pattern[str], dict[str, tuple[str, tuple[str, ...]]]]:
    meanings: dict[str, tuple[str, tuple[str, ...]]] = {}
    for meaning, language, phrase in [*listed(WORDS), *listed(BESIDE)]:
        known, languages = meanings.get(key_of(phrase), (meaning, ()))
        meanings[key_of(phrase)] = known, (*languages, language)
    return one_of(phrase for _, _, phrase in [*listed(WORDS), *listed(BESIDE)]), meanings


@cache
def _empty() -> re.Pattern[str]:
    return re.compile("|".join([rf"\b(?:{'|'.join(FILLERS)})\b", re.escape("%")]))


def sum_label(head: str) -> SumLabel | None:
    """The meaning of a folded text before an amount; None if it is no label of a sum."""
    head = head.strip(" \t:.*•-#=@|>")
    if not head or len(head) > MAX_HEAD or _DOCUMENT.match(head):
        return None
    head = _ASIDE.sub(" ", head)
    pattern, meanings = _table()
    found: list[tuple[str, int]] = []
    languages: list[str] = []
    rest, place = "", 0
    for match in pattern.finditer(head):
        meaning, spoken = meanings[key_of(match[0])]
        found.append((meaning, match.start()))
        languages += spoken
        rest += head[place : match.start()] + " "
        place = match.end()
    rest += head[place:]
    if not found or _words_in(head[: found[0][1]]):
        return None  # it begins with other words
    inside = re.sub(r"\([^)]*\)?", " ", rest)
    others = len(_words_in(inside))
    kind, rank = _kind([meaning for meaning, _ in found])
    if kind is None or others > (3 if kind == "total" and found[0][0] in ("total", "due") else 0):
        return None
    rated = bool(_RATE.search(head))
    return SumLabel(kind, rank - 2 * min(others, 1) - (2 if rated and kind != "total" else 0), tuple(languages))


def _words_in(text: str) -> list[str]:
    """Words of two letters or more that are neither fillers nor currencies."""
    text = _empty().sub(" ", text)
    return [word for word in _LETTERS.findall(text) if len(word) > 1 and not _is_currency(word)]


@cache
def _is_currency(word: str) -> bool:
    return re.fullmatch(after_number(), word.upper()) is not None or word in ("rm", "rp", "kr", "fr", "rs", "euro")


def _kind(found: list[str]) -> tuple[str | None, int]:
    """Kind and rank of a label by the meanings of its words, in their order."""
    words, first = set(found), found[0]
    beside = next((kind for kind in DECIDES if kind in words), None)
    if beside is not None and not _is_total_all_the_same(beside, found):
        return beside, 3
    if "without" in words or "net" in words:
        return ("total", 5) if "due" in words else _net(found)
    if "subtotal" in words:
        return "subtotal", 4
    if "with" in words or "gross" in words:
        if words & {"total", "due", "gross", "amount", "thing"} and first != "with":
            return "total", 4
        return ("tax", 3) if "tax" in words else ("total", 3) if "total" in words else (None, 0)
    if "tax" in words:
        return "tax", 4 if words & {"total", "amount"} else 3
    if "due" in words:
        return "total", 5
    if "total" in words:
        return "total", 3
    return ("total", 0) if words == {"amount"} else (None, 0)


def _net(found: list[str]) -> tuple[str | None, int]:
    words = set(found)
    if "tax" in words and found[0] == "tax":  # `VAT excl.`: what the tax is counted on
        return "subtotal", 2
    if found[0] == "without" and not words & {"total", "amount", "net", "subtotal"}:
        return ("tax", 3) if "tax" in words else (None, 0)  # `zzgl. 19 % USt.`
    return "subtotal", 4


def _is_total_all_the_same(beside: str, found: list[str]) -> bool:
    """Whether a total is meant that only mentions something beside: `Total after discount`, `Total incl. tip`."""
    total = next((place for place, word in enumerate(found) if word in ("total", "due")), None)
    other = found.index(beside)
    if total is None or beside in ("suggestion", "saved", "paid", "change"):
        return False
    return total < other and any(word in ("with", "without", "net") for word in found[total:other])


@cache
def sum_of_name(name: str) -> str | None:
    """The kind of sum that a property's name means, such as `grand_total` or `taxAmount`."""
    words = normal(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name))
    label = sum_label(words)
    if label is None or label.kind == "count" or (label.kind == "total" and label.rank == 0) or _words_in_rest(words):
        return None
    return label.kind


def _words_in_rest(words: str) -> bool:
    pattern, _ = _table()
    return bool(pattern.sub(" ", words).strip()) or words in ("check", "card", "service", "balance", "payment", "debit")
