"""What CLDR, by Babel, knows of the languages of labels: names of months, marks in numbers, currencies."""

from collections.abc import Iterator
from functools import cache

from babel import Locale, localedata
from babel.core import get_global

from modes.printed.text import folded

LANGUAGES = (
    *("en", "de", "fr", "es", "it", "pt", "nl", "pl", "zh", "zh_Hant", "ja", "ko"),
    *("sv", "da", "nb", "fi", "cs", "hu", "tr", "id", "ms", "ro", "ru", "uk", "el", "bg"),
)
"""Languages whose months are read; the first row's labels are known too."""

SPELLINGS = {
    **{"sept": 9, "mars": 3, "maerz": 3, "mrz": 3, "okt": 10, "dez": 12, "mrt": 3, "agt": 8, "juin": 6, "juil": 7},
    **{"ene": 1, "abr": 4, "ago": 8, "dic": 12, "gen": 1, "mag": 5, "giu": 6, "lug": 7, "ott": 10, "set": 9},
}
"""Short forms that are printed but are not CLDR's."""


@cache
def months() -> dict[str, int]:
    """Names of months, folded and without points -> 1 to 12."""
    found: dict[str, int] = {}
    for language in LANGUAGES:
        for context in Locale.parse(language).months.values():
            for width in ("wide", "abbreviated"):
                for number, name in context[width].items():
                    if not any(character.isdigit() for character in name):
                        found.setdefault(folded(name).rstrip("."), number)
    return SPELLINGS | {name: number for name, number in found.items() if len(name) > 2 and name.isalpha()}


@cache
def decimal_of(language: str) -> str:
    """The decimal mark of a language."""
    symbols = Locale.parse(language).number_symbols
    return str((symbols.get("latn") or symbols)["decimal"])


@cache
def decimal_of_currency(currency: str) -> str | None:
    """The decimal mark where a currency is paid; None where countries differ, as with the euro."""
    if currency == "USD":
        return "."  # in the country itself
    marks = {decimal_of(_locale_of(territory)) for territory, code in _tenders() if code == currency}
    return marks.pop() if len(marks) == 1 else None


@cache
def decimals_of(currency: str) -> int:
    """The number of decimals in which a currency is paid: 0 for a yen, 2 for a euro, 3 for a dinar."""
    fractions = get_global("currency_fractions")
    return int(fractions.get(currency, fractions["DEFAULT"])[0])


@cache
def currencies() -> dict[str, tuple[str, ...]]:
    """Signs and codes of today's currencies -> the ISO codes that they may mean, that of the largest country first."""
    found: dict[str, list[str]] = {}
    for territory, code in _tenders():
        for mark in (code, _sign(territory, code)):
            if mark and code not in found.setdefault(mark, []):
                found[mark].append(code)
    return {mark: tuple(codes) for mark, codes in found.items()}


def _tenders() -> Iterator[tuple[str, str]]:
    """Territories with their present currencies."""
    for territory, history in get_global("territory_currencies").items():
        yield from ((territory, code) for code, _, end, tender in history if end is None and tender)


def _sign(territory: str, currency: str) -> str:
    """A currency's sign as its own country writes it."""
    symbols = Locale.parse(_locale_of(territory)).currency_symbols
    return str(symbols.get(currency, currency)).strip("\u200b\u200e\u200f \u202f")


def _locale_of(territory: str) -> str:
    likely = get_global("likely_subtags").get(f"und_{territory}", "en")
    language = likely.split("_")[0]
    return next((name for name in (f"{language}_{territory}", likely, language) if localedata.exists(name)), "en")
