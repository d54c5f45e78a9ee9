"""Dates as pages print them, with the days of the calendar that they may mean."""

import datetime
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from modes.printed.locales import months
from modes.printed.text import GROUP_SPACE
from modes.printed.trie import pattern_of

_YEAR = r"(?:\d{4}|'?~?\d{2})"
_ORDINAL = r"(?:st|nd|rd|th|er|re|eme|[.ºª°])?"
_OF = r"(?:~?(?:de|del|of|di|d[oe])~)?"
_BEFORE = r"(?<![\d/.,'-])"
# A letter, digit or mark after a date makes it something else, unless a time follows.
_AFTER = r"(?=(?:time|uhr|hora|heure|ora|godz|tijd)\b|t?~?\d\d:\d\d|-\d{1,2}:\d\d|z?(?![\w/'-]|\.\d))"
_ERAS = {"令和": 2018, "r": 2018, "平成": 1988, "h": 1988, "昭和": 1925, "民國": 1911, "民国": 1911}
_PIVOT = 70  # years of two digits from here on are of the last century
_BUDDHIST = 2400  # years from here on are counted from the Buddha's time


@dataclass(frozen=True)
class Date:
    """A date in a text."""

    start: int
    end: int
    days: tuple[datetime.date, ...]  # what it may mean; two where day and month may be either
    day_first: bool | None  # the order of the first two numbers, where they show it
    compact: bool = False  # eight digits without marks: only a date behind a label for one
    glued: bool = False  # letters stand right before it


@cache
def _patterns() -> list[re.Pattern[str]]:
    """The ways to write a date, the surest first. In them, ~ is a blank that does not end a cell or line."""
    name = pattern_of((month, "") for month in sorted(months()))
    month = rf"(?P<month>{name})(?![^\W\d_])\.?"
    mark, gap, day = r"(?P<s>[-/.])", r"[~./,-]{0,2}", r"(?P<d>\d{1,2})"
    shapes = [
        rf"{_BEFORE}(?P<y>\d{{4}})~?{mark}~?(?P<m>\d{{1,2}})~?(?P=s)~?{day}(?:\.(?!\d))?{_AFTER}",
        rf"{_BEFORE}(?P<a>\d{{1,2}})~?{mark}~?(?P<b>\d{{1,2}})~?(?P=s)~?(?P<y>{_YEAR})"
        rf"(?:(?<=\d{{4}})(?=\d\d:\d\d)|{_AFTER})",
        rf"{_BEFORE}(?P<y>\d{{4}})~?{mark}~?{month}(?P=s){day}\.?{_AFTER}",
        rf"{_BEFORE}{day}{_ORDINAL}{gap}{_OF}{month}{gap}{_OF}~?(?P<y>{_YEAR}){_AFTER}",
        rf"(?<![^\W\d_])(?:{month}){gap}{day}{_ORDINAL}(?:,~?|~|-|\.~?)(?P<y>{_YEAR})(?!:){_AFTER}",
        rf"{_BEFORE}(?P<y>\d{{4}})[.]?{gap}{month}{gap}{day}\.?{_AFTER}",
        r"(?:(?P<era>令和|平成|昭和|民國|民国)~?)?(?<!\d)(?P<y>\d{1,4}|元)~?[年년]~?(?P<m>\d{1,2})~?[月월]"
        rf"~?{day}~?[日일号號]?",
        r"(?<![\w./-])(?P<compact>(?P<y>(?:19|20)\d\d)(?P<m>[01]\d)(?P<d>[0-3]\d))(?![\w/-]|[.,]\d)",
    ]
    blank = "[ " + GROUP_SPACE + "]"
    return [re.compile(shape.replace("[~", "[ " + GROUP_SPACE).replace("~", blank)) for shape in shapes]


def dates(folded: str) -> list[Date]:
    """The dates of a folded text in their order: the month as number or name, in the orders that are usual."""
    found: list[Date] = []
    for pattern in _patterns():
        for match in pattern.finditer(folded):
            date = _date(match, folded)
            if date is not None and not any(date.start < own.end and own.start < date.end for own in found):
                found.append(date)
    return sorted(found, key=lambda date: date.start)


def _date(match: re.Match[str], text: str) -> Date | None:
    groups = match.groupdict()
    year = _year(groups["y"], groups.get("era"))
    day_first = None
    if groups.get("a"):
        a, b = int(groups["a"]), int(groups["b"])
        options = [(b, a), (a, b)] if a != b else [(a, b)]
        day_first = True if a > 12 else False if b > 12 else None
    else:
        month = months()[groups["month"]] if groups.get("month") else int(groups["m"])
        options = [(month, int(groups["d"]))]
    days = tuple(day for month, number in options if (day := _day(year, month, number)) is not None)
    if not days:
        return None
    start, end = match.start(), len(match[0].rstrip(" ")) + match.start()
    glued = bool(re.search(r"[^\W\d_]$", text[max(0, start - 1) : start])) and text[start].isdigit()
    return Date(start, end, days, day_first, compact="compact" in groups, glued=glued and text[start - 1].isascii())


def _year(text: str, era: str | None) -> int:
    if era:
        return _ERAS[era] + (1 if text == "元" else int(text))
    if not text.strip("' ").isdigit():
        return 0
    year = int(text.strip("' "))
    if year < 100:
        return year + (1900 if year >= _PIVOT else 2000)
    return year - 543 if year > _BUDDHIST else year


def _day(year: int, month: int, day: int) -> datetime.date | None:
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None


def day_first(found: Iterable[Date], languages: Mapping[str, int]) -> bool | None:
    """Whether a page's dates of numbers begin with the day: as one of them shows, else by the page's language.

    None where neither tells, as in English.
    """
    shown = {date.day_first for date in found} - {None}
    if len(shown) == 1:
        return shown.pop()
    top = max(languages.values(), default=0)
    spoken = [language for language, count in languages.items() if count == top]
    return None if shown or not spoken or "en" in spoken else True


def iso(date: Date, *, first: bool | None) -> tuple[str, ...]:
    """The date in ISO's form; several where its order is open. `first`: the page's `day_first`."""
    days = date.days
    if len(days) == 2 and first is not None:
        days = (days[0] if first else days[1],)
    return tuple(day.isoformat() for day in days)
