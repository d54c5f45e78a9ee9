"""Signs and codes of currencies as pages print them."""

from functools import cache

from modes.printed.locales import currencies, decimals_of
from modes.printed.trie import pattern_of

NAMES = {
    **{"円": "JPY", "圓": "TWD JPY", "元": "CNY TWD HKD", "圆": "CNY", "원": "KRW", "RMB": "CNY", "¥": "JPY CNY"},
    **{"Fr.": "CHF", "Fr": "CHF", "SFr.": "CHF", "sFr.": "CHF", "Rs.": "INR PKR", "Rs": "INR PKR", "Rp.": "IDR"},
    **{"EURO": "EUR", "Euro": "EUR", "euro": "EUR", "Eur": "EUR", "eur": "EUR", "kr.": "DKK ISK", "Kr": "SEK NOK DKK"},
    **{"KR": "SEK NOK DKK", "RON": "RON", "lei": "RON", "лв": "BGN", "руб.": "RUB", "руб": "RUB", "грн": "UAH"},
    **{"zl": "PLN", "ZŁ": "PLN", "Kc": "CZK", "FT": "HUF", "NT$": "TWD", "S$": "SGD", "AU$": "AUD", "CA$": "CAD"},
    **{"C$": "CAD", "MX$": "MXN", "NZ$": "NZD", "TL": "TRY", "DH": "AED", "Dhs": "AED", "HUF": "HUF", "$": "USD"},
    **{"£": "GBP", "R": "ZAR", "d": "VND", "đ": "VND", "VNĐ": "VND", "₪": "ILS", "₴": "UAH", "cents": "", "₤": "GBP"},
}
"""Marks that CLDR lacks, or that mean these first."""

WORDS = frozenset("ALL ANG BOB COP CUP GEL LAK MAD MOP PEN TOP TRY ARS AMD CAD GIP MUR SOS BAM BIF SCR".split()) - {
    *("CAD", "TRY", "ARS"),
}
"""Codes that are words on receipts too: before a number they are none."""

AFTER_ONLY = frozenset({"d", "đ", "L", "M", "K", "S", "Q", "Ar", "Br", "KM", "CF", "SR", "FG", "RF", "FC", "Bs", "Db"})
"""Signs of few letters, which before a number may be a part of anything."""


@cache
def codes() -> dict[str, tuple[str, ...]]:
    """Printed mark -> the ISO codes that it may mean."""
    known = {mark: found for mark, found in currencies().items() if len(mark) > 1 or not mark.isalpha()}
    for mark, names in NAMES.items():
        ours = tuple(names.split())
        known[mark] = (*ours, *(code for code in known.get(mark, ()) if code not in ours))
    return known


@cache
def before_number() -> str:
    """A pattern of the marks that stand before a number."""
    excluded = WORDS | AFTER_ONLY | {"cents", "円", "원", "元", "圓", "圆"}
    return _pattern(frozenset(codes()) - excluded)


@cache
def after_number() -> str:
    """A pattern of the marks that stand after a number."""
    return _pattern(frozenset(codes()) - {"R", "RM", "S"})


def _pattern(marks: frozenset[str]) -> str:
    body = pattern_of((mark, "") for mark in sorted(marks))
    return rf"(?:(?<![^\W\d_])(?:[A-Z]{{1,3}}\$|{body})(?![a-zA-ZÀ-ɏ]))"


def iso_codes(mark: str) -> tuple[str, ...]:
    """The currencies that a printed mark may mean; empty for an unknown one."""
    return codes().get(mark) or codes().get(mark.rstrip("."), ())


def has_decimals(mark: str) -> bool | None:
    """Whether amounts in a currency have two decimals; None where the mark leaves it open."""
    answers = {decimals_of(code) for code in iso_codes(mark)[:1]}
    return None if not answers else answers != {0}


def has_three_decimals(mark: str) -> bool:
    found = iso_codes(mark)
    return bool(found) and decimals_of(found[0]) == 3
