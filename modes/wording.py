"""Phrases of the tables as patterns, and text as the tables are written."""

import re
from collections.abc import Iterable, Mapping

from modes.printed.text import folded
from modes.printed.trie import pattern_of

_BETWEEN = r"[\s\-_.]{0,2}"
_LOOSE = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Scripts that put no blanks between words, or endings behind them."""


def normal(phrase: str) -> str:
    """A phrase or name with one blank between words: `Invoice_no.` -> `invoice no`."""
    return re.sub(r"[\s\-_]+", " ", folded(phrase).rstrip(".")).strip()


def key_of(phrase: str) -> str:
    """What all spellings of a phrase have in common."""
    return re.sub(r"[\s\-_.]", "", folded(phrase))


def listed(table: Mapping[str, Mapping[str, str]]) -> Iterable[tuple[str, str, str]]:
    """The entries of a table: meaning, language, phrase."""
    for meaning, languages in table.items():
        for language, phrases in languages.items():
            yield from ((meaning, language, phrase.strip()) for phrase in phrases.split(","))


def one_of(phrases: Iterable[str]) -> re.Pattern[str]:
    """A pattern of all phrases in a folded text, the longest first; a blank also matches a hyphen or nothing."""
    words: list[tuple[list[str], str]] = []
    loose: list[tuple[list[str], str]] = []
    for phrase in sorted({normal(phrase) for phrase in phrases} - {""}):
        parts: list[str] = []
        for index, character in enumerate(phrase):
            if index and _LOOSE.match(character) and _LOOSE.match(phrase[index - 1]):
                parts.append(r"\s?")  # `合 計`
            parts.append(_BETWEEN if character == " " else character)
        end = "" if _LOOSE.match(phrase[-1]) or not phrase[-1].isalpha() else r"(?![^\W\d_])"
        is_word = phrase[0].isalnum() and not _LOOSE.match(phrase[0])
        (words if is_word else loose).append((parts, end))
    patterns = [rf"(?<![^\W_]){pattern_of(words)}"] if words else []
    return re.compile("|".join([*patterns, *([pattern_of(loose)] if loose else [])]))
