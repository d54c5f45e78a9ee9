"""Dates as pages print them, with dateparser as a second opinion."""

import datetime

import dateparser
import pytest

from modes.printed.dates import dates, day_first, iso
from modes.printed.text import folded

MARCH = datetime.date(2025, 3, 14)
WAYS = [
    *("2025-03-14", "14/03/2025", "14.3.25", "2025/03/14", "14. 03. 2025", "2025. 3. 14."),
    *("Mar 14, 2025", "March 14 2025", "14 March 2025", "14th Mar 2025", "Mar 14th '25", "Mar14,2025"),
    *("14-Mar-25", "14/Mar/2025", "14MAR2025", "2025-Mar-14"),
    *("14. März 2025", "14 mars 2025", "14 de marzo de 2025", "14 marzo 2025", "14 de março de 2025", "14 maart 2025"),
    *("14 marca 2025", "2025年3月14日", "2025년 3월 14일", "令和7年3月14日", "民國114年3月14日", "14 марта 2025"),
]


@pytest.mark.parametrize("printed", WAYS)
def test_a_date_is_found_in_its_usual_forms(printed: str) -> None:
    text = f"Date: {printed} 12:30"
    (date,) = dates(folded(text))
    assert (text[date.start : date.end], date.days) == (printed, (MARCH,))


@pytest.mark.parametrize("printed", ["2025-03-14T13:45:00", "14/03/2025-13:45", "14/03/202513:45", "Date14/03/2025"])
def test_a_time_or_a_label_may_touch_a_date(printed: str) -> None:
    (date,) = dates(folded(printed))
    assert date.days == (MARCH,)


@pytest.mark.parametrize(
    "text", ["2015-831", "200-9286", "1/2", "12:30", "May 2026", "45/13/2025", "10.0.0.1", "30/2/25"]
)
def test_codes_and_times_are_not_dates(text: str) -> None:
    assert dates(folded(text)) == []


def test_eight_digits_are_a_date_that_needs_a_label() -> None:
    (date,) = dates(folded("20250314"))
    assert (date.compact, date.days) == (True, (MARCH,))


def test_the_page_tells_whether_the_day_comes_first() -> None:
    (open_,) = dates("03/04/2025")
    (clear,) = dates("14/03/2025")
    assert iso(open_, first=None) == ("2025-04-03", "2025-03-04")
    assert iso(open_, first=day_first([open_, clear], {})) == ("2025-04-03",)
    assert iso(open_, first=day_first([open_], {"de": 2})) == ("2025-04-03",)
    assert day_first([open_], {"en": 1}) is None


@pytest.mark.parametrize(
    ("printed", "language"),
    [
        ("31. Januar 2024", "de"),
        ("14 février 2025", "fr"),
        ("5 giugno 2025", "it"),
        ("7 de agosto de 2025", "es"),
        ("1 maart 2025", "nl"),
        ("3 września 2025", "pl"),
        ("2 de outubro de 2025", "pt"),
        ("2025年3月4日", "ja"),
        ("9 December 2024", "en"),
    ],
)
def test_dateparser_reads_the_same(printed: str, language: str) -> None:
    (date,) = dates(folded(printed))
    parsed = dateparser.parse(printed, languages=[language])
    assert parsed is not None
    assert date.days == (parsed.date(),)
