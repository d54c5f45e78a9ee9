"""Numbers as pages print them: with signs, currencies and units around them, in the style of their page."""

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache

from modes.printed.currencies import after_number, before_number
from modes.printed.dates import Date
from modes.printed.style import Style
from modes.printed.text import GROUP_SPACE

_RUN = rf"\d+(?:[.,']\d+|{GROUP_SPACE}\d{{3}}(?!\d))*"
_LEADING = r"(?<![\w.,/:-])[.,]\d+|(?<=[$€£¥])[.,]\d+"
_SPACED = rf"\d{{1,3}}(?:[ {GROUP_SPACE}]\d{{3}}(?!\d))+(?:[.,]\d{{1,2}}(?!\d))?"
_SPLIT = r"\d+[.,] \d\d(?!\d|[.,/:-]\d|\s?%|\.\s?\d)(?=\s*(?:$|[A-Z*]?\s*$|\n|\t))"
_BARE_CENTS = re.compile(r"(?<=\s)(\d{1,4}) (\d\d)\s*$", re.MULTILINE)
_WITHOUT_CENTS = re.compile(r"[.,]\s?-{1,2}(?!\d)|:-(?!\d)|(?<=\d)-{2}(?!\d)")
_CREDIT = re.compile(r"\s?(?:CR|Cr)\b\.?(?!\w)")
_MINUS_AFTER = re.compile(r" ?-(?![\w-])(?!\s*[\d$€£¥(])")
_WINDOW = 12  # characters around a number in which its signs are looked for


@dataclass(frozen=True)
class Number:
    """A number that was found in a text."""

    start: int  # in the text, of the sign or the digits
    end: int
    value: Decimal
    currency: tuple[int, int] | None  # span of its sign or code
    percent: bool
    others: tuple[Decimal, ...] = ()  # what it may mean as well
    code: bool = False  # a part of something longer, such as `0012-3456` or `17b`
    dash: int | None = None  # start of a dash before it, which may be a minus or only part it from words
    split: bool = False  # a blank is inside it, so that it may be two numbers
    rounded: bool = False  # marked as an amount without cents: `5.-`

    @property
    def amount(self) -> bool:
        """Whether it looks like an amount of money: two decimals or a currency, and no percentage."""
        exponent = self.value.as_tuple().exponent
        return not self.percent and not self.code and (exponent == -2 or self.rounded or self.currency is not None)

    @property
    def whole(self) -> tuple[int, int]:
        """Its span with its currency and a dash before it."""
        starts = [self.start, *([self.dash] if self.dash is not None else []), *(self.currency or ())[:1]]
        return min(starts), max(self.end, *(self.currency or (0,)))


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    before, after = before_number(), after_number()
    return (
        re.compile(f"{_SPLIT}|{_SPACED}|{_LEADING}|{_RUN}"),
        re.compile(f"{_SPLIT}|{_LEADING}|{_RUN}"),
        re.compile(rf"(?P<outer>(?<![^\s(\t]))?(?P<mark>{before})(?P<gap>[ {GROUP_SPACE}]?)(?P<inner>-\s?)?\(?\Z"),
        re.compile(rf"[ {GROUP_SPACE}]?(?P<mark>{after})(?!\s?\d)|\s?(?P<percent>%)"),
    )


def numbers(text: str, style: Style, dates: list[Date] | None = None, *, spaced: bool | None = None) -> list[Number]:
    """All numbers of a plain text but those in dates, times and codes of letters; the x of `x4` is a sign.

    `spaced`: whether blanks part thousands; the style's by default.
    """
    taken = {place for date in dates or () if not date.compact for place in range(date.start, date.end)}
    joined, single, _, _ = _patterns()
    pattern = joined if (style.spaced if spaced is None else spaced) else single
    found: list[Number] = []
    for match in pattern.finditer(text):
        if match.start() in taken or _is_time(text, match):
            continue
        number = _number(text, match, style)
        if number is not None:
            found.append(number)
    return _with_bare_cents(text, found)


def _is_time(text: str, match: re.Match[str]) -> bool:
    before, after = text[max(0, match.start() - 3) : match.start()], text[match.end() : match.end() + 3]
    return bool(re.match(r":\d\d", after) or re.search(r"\d:\Z", before))


def _number(text: str, match: re.Match[str], style: Style) -> Number | None:
    start, end = match.span()
    digits = re.sub(r"([.,]) ", r"\1", match[0])
    readings = style.read(digits)
    left, right = text[max(0, start - _WINDOW) : start], text[end : end + _WINDOW]
    _, _, before, after = _patterns()
    ahead, behind = before.search(left), after.match(right)
    letter = re.search(r"[^\W\d_]\Z", left)
    if not readings or (letter and ahead is None and left[-1].isascii() and not re.search(r"(?:^|\W)[xX]\Z", left)):
        return None
    percent = bool(behind and behind["percent"])
    currency = None
    if behind is not None and not percent:
        currency = end + behind.start("mark"), end + behind.end("mark")
    elif ahead is not None:  # not beside one behind: in `SUMME EUR 5,00 €` it is a part of the label
        currency = start - len(left) + ahead.start("mark"), start - len(left) + ahead.end("mark")
    code = currency is None and _in_code(left, right)
    number = Number(start, end, readings[0], currency, percent, readings[1:], code, split=" " in match[0])
    return number if code or percent else _signed(text, number, left[: ahead.start("mark")] if ahead else left)


def _in_code(left: str, right: str) -> bool:
    """Whether a number is only a part of something longer, such as `0012-3456` or `17b`."""
    if re.search(r"\w[-/#]\Z|[^\W\d_]\.\Z", left) and not re.search(r"[^\W\d_]{2,}\.\Z", left):
        return True
    return bool(re.match(r"[-/]\d|-[^\W\d_]|/[^\W\d_]+\d|(?:[a-wyzA-WYZ]\d)|[:/\\_]\w*\d", right))


def _signed(text: str, number: Number, left: str) -> Number:
    """The number with the sign that is printed around it and its currency."""
    end = number.end
    if tail := _WITHOUT_CENTS.match(text, end):
        return replace(number, end=tail.end(), rounded=True)
    right_end = max(end, number.currency[1]) if number.currency else end
    opening = re.search(r"\(\s?-?\Z", left) or text[number.start - 1 : number.start] == "("
    closing = re.match(r"\s?\)", text[right_end : right_end + 2])
    if opening and closing and number.amount:
        return replace(number, value=-number.value)
    gap = text[number.currency[1] : number.start] if number.currency and number.currency[1] <= number.start else ""
    if "-" in gap or re.search(r"(?:^|[\s(:])-\Z|[^\w\s)]-\Z", left):
        dash = number.start - 1 if text[number.start - 1 : number.start] == "-" else number.start
        return replace(number, value=-number.value, start=dash)
    if _CREDIT.match(text, right_end) and number.amount:
        return replace(number, value=-number.value)
    if _MINUS_AFTER.match(text, right_end) and (number.amount or number.value >= 100):
        return replace(number, value=-number.value, end=right_end + 1 if right_end == end else end)
    if number.amount and (dash_found := re.search(r"(?<!\S)-\s\Z", left)):
        first = number.currency[0] if number.currency and number.currency[0] < number.start else number.start
        return replace(number, value=-number.value, dash=first - len(dash_found[0]))
    return number


def _with_bare_cents(text: str, found: list[Number]) -> list[Number]:
    """`RM 7 00`: two digits at the end of a line, after a currency and a number, are decimals without their mark."""
    for match in _BARE_CENTS.finditer(text):
        pair = [number for number in found if number.start in (match.start(1), match.start(2))]
        if len(pair) != 2 or (pair[0].currency is None and not match[2].startswith("0")) or pair[1].currency:
            continue
        value = Decimal(f"{match[1]}.{match[2]}")
        whole = replace(pair[0], value=value if pair[0].value >= 0 else -value, end=match.end(2), split=True)
        found[found.index(pair[0]) : found.index(pair[1]) + 1] = [whole]
    return found
