"""The way in which a page writes its numbers: one page has one way."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from modes.printed.currencies import after_number, before_number, has_decimals, has_three_decimals, iso_codes
from modes.printed.locales import decimal_of, decimal_of_currency
from modes.printed.text import GROUP_SPACE

MAX_DIGITS = 18  # including marks; longer ones are no amounts or counts and do not fit a double
LIKE_NUMBERS = 3  # so many different numbers of one form show that it is the page's way
_MARKS = re.compile(rf"[.,' {GROUP_SPACE}]")
_GROUPED = re.compile(r"\d{1,3}(?:\d{3})*")


@dataclass(frozen=True)
class Style:
    """What a page's numbers and currency tell; None where they tell nothing."""

    decimal: str | None = None  # "." or ","
    language_decimal: str | None = None  # the mark of the page's language, which decides where numbers do not
    cents: bool | None = None  # False: amounts of the page's currency have no decimals
    mills: bool = False  # amounts of the page's currency have three decimals
    spaced: bool = False  # a blank parts thousands

    def read(self, digits: str) -> tuple[Decimal, ...]:
        """The values that a number may mean, the likeliest first; empty for what is no number.

        `digits`: of a plain text, such as `1.234,50`, `1,04,726.08`, `.99`. More than one: the page leaves it open.
        """
        if len(digits) > MAX_DIGITS:
            return ()
        marks, parts = _MARKS.findall(digits), _MARKS.split(digits)
        if not marks:
            return (Decimal(digits),)
        last = marks[-1]
        if not parts[0]:  # .99
            return (Decimal(f"0.{parts[1]}"),) if len(marks) == 1 and last in ".," else ()
        grouped = _whole(parts, marks)
        decimal = _decimal(parts, marks) if last in ".," else None
        if grouped is None or decimal is None:
            return tuple(value for value in (grouped, decimal) if value is not None)
        return self._of_three(last, parts, grouped=grouped, decimal=decimal)

    def _of_three(self, mark: str, parts: list[str], *, grouped: Decimal, decimal: Decimal) -> tuple[Decimal, ...]:
        """The readings of one mark before three digits, which may be decimals or a group."""
        if parts[0].strip("0") == "":
            return (decimal,)
        if self.cents is False:
            return (grouped,)
        if self.decimal is not None:
            return (decimal,) if mark == self.decimal else (grouped,)
        if self.mills:
            return (decimal,)
        if self.language_decimal is not None and mark != self.language_decimal:
            return (grouped,)
        return grouped, decimal


def _whole(parts: list[str], marks: list[str]) -> Decimal | None:
    """All parts as one whole number: groups of three, or India's of two before the last of three."""
    if len(set(marks)) > 1 or not 1 <= len(parts[0]) <= 3 or (parts[0] == "0" and len(parts) > 1):
        return None
    inner, last = parts[1:-1], parts[-1]
    lakh = marks[0] == "," and len(parts) > 2 and len(parts[0]) <= 2 and all(len(part) == 2 for part in inner)
    if len(last) != 3 or not (lakh or all(len(part) == 3 for part in inner)):
        return None
    return Decimal("".join(parts))


def _decimal(parts: list[str], marks: list[str]) -> Decimal | None:
    """The last part as decimals."""
    whole = parts[:-1]
    if len(whole) > 1 and (marks[-1] in marks[:-1] or _whole(whole, marks[:-1]) is None):
        return None
    return Decimal("".join(whole) + "." + parts[-1]) if parts[-1] else None


@cache
def _evidence() -> dict[str, re.Pattern[str]]:
    space = rf"[ {GROUP_SPACE}]"
    return {
        # A mark that must be a decimal one: one, two or more than three digits after it, and no more marks.
        "decimal": re.compile(r"(?<![\d.,/:])\d*(?:[.,' ]\d{3})*([.,])(?:\d{2}|\d)(?!\d)(?![\d.,/:]*\d|\s?%)"),
        # Two different marks in one number: the last is the decimal one.
        "mixed": re.compile(rf"(?<![\d.,])\d{{1,3}}(?:([.,'{GROUP_SPACE}])\d{{2,3}})+(?!\1)([.,])\d+(?![\d.,]*\d)"),
        # Only one mark, more than once: it parts groups.
        "grouped": re.compile(r"(?<![\d.,])\d{1,3}([.,])\d{3}(?:\1\d{3})+(?![\d.,]*\d)"),
        "three": re.compile(r"(?<![\d.,/:-])[1-9]\d{0,2}([.,])\d{3}(?![\d.,/:-]*\d)"),
        "spaced": re.compile(
            rf"(?<![\d.,/:-])\d{{1,3}}(?:{GROUP_SPACE}\d{{3}}| 0\d\d| \d{{3}} \d{{3}})+"
            rf"(?:[.,]\d\d(?!\d)|\s?{after_number()})"
        ),
        "groups": re.compile(rf"(?<![\d.,])\d{{1,3}}{space}\d{{3}}(?:[.,]\d{{1,2}})?(?![\d.,]*\d)"),
        "currency": re.compile(rf"(?P<before>{before_number()})\s?-?[.,]?\d|\d\s?(?P<after>{after_number()})"),
    }


def style_of(lines: Sequence[str], sums: Iterable[str] = (), languages: Mapping[str, int] | None = None) -> Style:
    """The style of a page.

    `lines`: its plain text; `sums`: what follows the labels of sums, where nothing but an amount is expected;
    `languages`: how many of its labels are of each.
    """
    marks = Counter(match[1] for match in _found("decimal", lines))
    for match in _found("mixed", lines):
        marks[match[2]] += 2
    if not marks and (group := _group_mark(lines)):
        marks[{".": ",", ",": "."}[group]] += 1
    (first, count), (_, second) = (*marks.most_common(2), ("", 0), ("", 0))[:2]
    spaced = any(_found("spaced", lines)) or any(_is_spaced(text) for text in sums)
    printed = Counter(match["before"] or match["after"] for match in _found("currency", lines))
    currency = printed.most_common(1)[0][0] if printed else ""
    return Style(
        decimal=first if count > second else None,
        language_decimal=_usual_decimal(languages, currency),
        cents=has_decimals(currency) if currency and not marks else None,
        mills=has_three_decimals(currency),
        spaced=spaced,
    )


def _found(evidence: str, lines: Iterable[str]) -> Iterator[re.Match[str]]:
    pattern = _evidence()[evidence]
    return (match for line in lines for match in pattern.finditer(line))


def _group_mark(lines: Sequence[str]) -> str | None:
    """The mark of thousands: one that comes twice in a number, or has three digits behind it in three numbers."""
    grouped = next(_found("grouped", lines), None)
    if grouped is not None:
        return grouped[1]
    threes = {match[0]: match[1] for match in _found("three", lines)}
    currencies = {match["before"] or match["after"] for match in _found("currency", lines)}
    alike = len(set(threes.values())) == 1 and len(threes) >= LIKE_NUMBERS
    return next(iter(threes.values())) if alike and not any(map(has_three_decimals, currencies)) else None


def _usual_decimal(languages: Mapping[str, int] | None, currency: str) -> str | None:
    """The decimal mark of the page's language and currency; None where they leave it open."""
    top = max(languages.values(), default=0) if languages else 0
    spoken = {decimal_of(language) for language, count in (languages or {}).items() if count == top}
    codes = iso_codes(currency) if currency else ()
    paid = decimal_of_currency(codes[0]) if codes else None
    if len(spoken) == 1:
        return spoken.pop() if paid is None or paid in spoken else None
    return paid


def _is_spaced(text: str) -> bool:
    """Whether all the digits behind a label are one number with blanks between its groups."""
    found = _evidence()["groups"].search(text)
    return found is not None and not re.search(r"\d", text[: found.start()] + text[found.end() :])
