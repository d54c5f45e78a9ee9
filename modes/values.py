"""Numbers, amounts and dates in a text."""

import re
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

Json = str | int | float | Decimal | bool | None
"""A plain value of an answer."""

CURRENCIES = (
    "USD EUR GBP JPY CNY RMB CHF CAD AUD NZD INR SEK NOK DKK PLN CZK HUF TRY BRL MXN ZAR SGD HKD KRW THB".split()
)
SYMBOLS = "$€£¥￥₹₩฿元"
CURRENCY = rf"(?:[A-Z]{{0,2}}\$|[{SYMBOLS}]|\b(?:{'|'.join(CURRENCIES)})\b)"
MAX_DIGITS = 18  # including marks; longer ones are no amounts or counts and do not fit a double
DIGITS = r"\d+(?:[.,'’\u00a0\u202f]\d+)*"
NUMBER = re.compile(
    rf"(?P<minus>(?<!\w)[-−]\s?(?={CURRENCY}))?(?P<before>{CURRENCY})?\s?(?P<sign>(?<!\w)[-−])?(?P<digits>{DIGITS})(?:\s?(?P<after>{CURRENCY}(?!\s?\d)|%))?"
)
MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
DAY = r"\d{1,2}(?:st|nd|rd|th)?"
DATE = re.compile(
    rf"(?<![\w/.-])(?:\d{{4}}([-/.])\d{{1,2}}\1\d{{1,2}}|\d{{1,2}}([-/.])\d{{1,2}}\2(?:\d{{4}}|\d{{2}})"
    rf"|{MONTH}\s{DAY},?\s\d{{4}}|{DAY}\.?[\s-]{MONTH},?[\s-]\d{{4}}|\d{{4}}\s?年\s?\d{{1,2}}\s?月\s?\d{{1,2}}\s?日)(?![\w/-])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Number:
    """A number that was found in a text."""

    start: int  # in the text, of the sign or the digits
    end: int
    value: Decimal
    currency: tuple[int, int] | None  # span of its sign or code
    percent: bool

    @property
    def amount(self) -> bool:
        """Whether it looks like an amount of money: two decimals or a currency, and no percentage."""
        return not self.percent and (self.value.as_tuple().exponent == -2 or self.currency is not None)


def decimal_mark(text: str) -> str:
    """The decimal mark of most numbers with two decimals: "." or ",", and "." in doubt."""
    marks = Counter(found[1] for found in re.finditer(r"\d([.,])\d\d(?![\d.,]*\d)", text))
    return "," if marks[","] > marks["."] else "."


def numbers(text: str, mark: str) -> list[Number]:
    """All numbers of a text but those in dates and codes (`28.04.2017`, `A4`); the x of `x4` is a sign.

    `mark`: the text's `decimal_mark`.
    """
    found = []
    in_dates = {position for start, end in dates(text) for position in range(start, end)}
    for match in NUMBER.finditer(text):
        value = _value(match["digits"], mark)
        before = text[max(0, match.start("digits") - 2) : match.start("digits")]
        letter = before[-1:].isascii() and before[-1:].isalpha() and match["before"] is None
        in_code = letter and not re.fullmatch(r"\W?[xX]", before)
        if value is None or in_code or match.start("digits") in in_dates:
            continue
        start = match.start("sign") if match["sign"] else match.start("digits")
        percent = match["after"] == "%"
        side = "before" if match["before"] else "after" if match["after"] and not percent else None
        currency = match.span(side) if side is not None else None
        negative = match["sign"] or match["minus"]
        found.append(Number(start, match.end("digits"), -value if negative else value, currency, percent))
    return found


def _value(digits: str, mark: str) -> Decimal | None:
    """`1.234,50`, `1,234.50` and `1200` as decimals; None where the marks make no number, or it is too long."""
    if len(digits) > MAX_DIGITS:
        return None
    parts = re.split(r"[.,'’\u00a0\u202f]", digits)
    marks = [c for c in digits if not c.isdigit()]
    whole, fraction = parts, ""
    if marks and marks[-1] in ".," and (len(parts[-1]) != 3 or _is_decimal(marks, mark)):
        whole, fraction = parts[:-1], parts[-1]
        marks = marks[:-1]
    if len(set(marks)) > 1 or any(len(part) != 3 for part in whole[1:]) or (len(whole) > 1 and len(whole[0]) > 3):
        return None
    return Decimal("".join(whole) + ("." + fraction if fraction else ""))


def _is_decimal(marks: list[str], mark: str) -> bool:
    """Whether three digits after the last mark are decimals, and not a group of thousands."""
    return marks[-1] not in marks[:-1] if len(marks) > 1 else marks[-1] == mark == "."


def dates(text: str) -> list[tuple[int, int]]:
    """Spans of the dates in a text, with the month as number or name, in the usual orders."""
    return [match.span() for match in DATE.finditer(text)]
