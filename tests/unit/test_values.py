from decimal import Decimal

import pytest

from modes.values import dates, decimal_mark, numbers


def values_in(text: str) -> list[str]:
    return [str(number.value) for number in numbers(text, decimal_mark(text))]


@pytest.mark.parametrize(
    ("printed", "value"),
    [
        ("1.234,50", "1234.50"),
        ("1,234.50", "1234.50"),
        ("1'234.50", "1234.50"),
        ("1\u00a0234,50", "1234.50"),
        ("12,345,678.90", "12345678.90"),
        ("¥1200", "1200"),
        ("1,234", "1234"),
        ("12,5", "12.5"),
        ("0.125", "0.125"),
        ("-5.00", "-5.00"),
        ("-$5.00", "-5.00"),
        ("$-5.00", "-5.00"),
    ],
)
def test_a_number_means_the_same_however_it_is_printed(printed: str, value: str) -> None:
    assert values_in(printed) == [value]


def test_three_digits_after_a_point_are_thousands_if_the_page_has_decimal_commas() -> None:
    assert values_in("1.234 and 5,00") == ["1234", "5.00"]
    assert values_in("1.234 and 5.00") == ["1.234", "5.00"]


@pytest.mark.parametrize("text", ["28.04.2017", "2026-03-04", "1.2.3", "1,23,456.7.8", "A4", "BX2", "9" * 30])
def test_text_that_only_looks_like_a_number_is_none(text: str) -> None:
    assert values_in(text) == []


def test_neighbours_stay_two_numbers() -> None:
    assert values_in("12 534,00") == ["12", "534.00"]


def test_a_currency_belongs_to_the_number_that_it_touches() -> None:
    first, second = numbers("x 4 $105.36", ".")
    assert (first.currency, second.currency) == (None, (4, 5))
    (only,) = numbers("99,50 EUR", ",")
    assert only.currency == (6, 9)


@pytest.mark.parametrize(("text", "amount"), [("2.10", True), ("$5", True), ("7", False), ("7.00%", False)])
def test_money_has_two_decimals_or_a_currency(text: str, amount: bool) -> None:
    (number,) = numbers(text, ".")
    assert number.amount is amount


@pytest.mark.parametrize(
    "date",
    [
        "2026-03-04",
        "04/03/2026",
        "4.3.26",
        "Mar 4, 2026",
        "4 March 2026",
        "4th Mar 2026",
        "2026年3月4日",
        "04-Mar-2026",
    ],
)
def test_dates_are_found_in_their_usual_forms(date: str) -> None:
    text = f"Date: {date} 12:30"
    assert [text[start:end] for start, end in dates(text)] == [date]


@pytest.mark.parametrize("text", ["2015-831", "200-9286", "1/2", "12:30", "May 2026"])
def test_codes_and_times_are_not_dates(text: str) -> None:
    assert dates(text) == []


def test_a_value_has_the_decimals_that_are_printed() -> None:
    (number,) = numbers("7.50", ".")
    assert (number.value, str(number.value)) == (Decimal("7.5"), "7.50")


def test_a_count_after_its_multiplication_sign_is_a_number() -> None:
    assert values_in("Pals x3 98.01 A4") == ["3", "98.01"]
