"""Printed values in the form that programs expect: dates and currencies by ISO, numbers as plain decimals."""

import re

from modes.labels import field_of, words_of
from modes.page import PageText, Span
from modes.printed.currencies import iso_codes
from modes.printed.dates import Date, iso
from modes.values import Value

COUNTRIES = {"ja": "JPY", "zh": "CNY", "ko": "KRW", "sv": "SEK", "nb": "NOK", "da": "DKK", "pl": "PLN", "cs": "CZK"}
"""The currency of a language, where a sign is that of several."""


def normalised(name: str, value: Value, page: PageText) -> str | None:
    """A printed value in its ISO or decimal form; None where it has none, or the page leaves it open.

    `name`: of the property that it fills.
    """
    if value.span is None or value.value is None or isinstance(value.value, bool):
        return None
    if value.number is not None:
        return str(value.number)
    if field_of(name) == "currency":
        return _currency(page, value.span)
    days = _days(page, value.span)
    if len(days) == 1 and (_is_all(page, value.span) or "date" in words_of(name).split()):
        return days[0]
    return None


def _date_at(page: PageText, span: Span) -> Date | None:
    for line in page.lines[max(0, page.index_at(span[0])) :]:
        if line.start >= span[1]:
            return None
        for date in line.dates:
            start, end = line.in_transcript((date.start, date.end))
            if span[0] <= start and end <= span[1]:
                return date
    return None


def _days(page: PageText, span: Span) -> tuple[str, ...]:
    """The days that a date at a place may mean."""
    date = _date_at(page, span)
    return () if date is None else iso(date, first=page.day_first)


def _is_all(page: PageText, span: Span) -> bool:
    """Whether a date is all of a value."""
    date = _date_at(page, span)
    return date is not None and date.end - date.start >= len(page.shown(span)) - 1


def _currency(page: PageText, span: Span) -> str | None:
    codes = iso_codes(page.views.plain[slice(*span)].strip())
    if len(codes) < 2 or codes[0] in ("EUR", "GBP", "INR", "CHF"):
        return codes[0] if codes else None
    named = {code for code in codes if re.search(rf"\b{code}\b", page.views.plain)}
    spoken = {COUNTRIES[language] for language, _ in page.languages.most_common(1) if language in COUNTRIES}
    found = named or (spoken & set(codes))
    return found.pop() if len(found) == 1 else None
