"""Numbers and currencies as pages print them, with price-parser as a second opinion."""

from decimal import Decimal

import pytest
from price_parser import Price

from modes.printed.currencies import iso_codes
from modes.printed.numbers import Number, numbers
from modes.printed.style import Style, style_of
from modes.printed.text import views_of


def numbers_in(text: str, style: Style | None = None) -> list[Number]:
    views = views_of(text)
    return numbers(views.plain, style or style_of([views.plain]))


def values_in(text: str, style: Style | None = None) -> list[str]:
    return [str(number.value) for number in numbers_in(text, style)]


WAYS = [
    ("1.234,50", "1234.50"),
    ("1,234.50", "1234.50"),
    ("1'234.50", "1234.50"),
    ("1’234.50", "1234.50"),
    ("1\u00a0234,50", "1234.50"),
    ("1\u202f234,50", "1234.50"),
    ("12,345,678.90", "12345678.90"),
    ("1,04,726.08", "104726.08"),
    ("¥1200", "1200"),
    ("12,5", "12.5"),
    ("0.125", "0.125"),
    (".89", "0.89"),
    ("$.99", "0.99"),
    ("5.-", "5"),
    ("5,--", "5"),
    ("3. 20", "3.20"),
    ("RM 7 00", "7.00"),
    ("１，２３４．５０", "1234.50"),
    ("١٢٫٥٠", "12.50"),
    ("۱۲٬۳۴۵٫۵۰", "12345.50"),
]


@pytest.mark.parametrize(("printed", "value"), WAYS)
def test_a_number_means_the_same_however_it_is_printed(printed: str, value: str) -> None:
    assert values_in(printed) == [value]


SIGNED = ["-5.00", "-$5.00", "$-5.00", "(5.00)", "($5.00)", "5.00-", "5.00 CR", "−5.00", "Refund – 5.00", "€ -5.00"]


@pytest.mark.parametrize("printed", SIGNED)
def test_a_sign_may_stand_anywhere(printed: str) -> None:
    assert values_in(printed) == ["-5.00"]


@pytest.mark.parametrize("printed", ["(2)", "200-9286", "2 - 3", "A-5.00"])
def test_marks_of_other_kinds_are_no_signs(printed: str) -> None:
    assert all(number.value > 0 for number in numbers_in(printed))


@pytest.mark.parametrize(
    ("page", "values"),
    [
        ("1.234 and 5,00", ["1234", "5.00"]),
        ("1.234 and 5.00", ["1.234", "5.00"]),
        ("25.000 Rp 33.000", ["25000", "33000"]),
        ("KWD 1.250", ["1.250"]),
        ("1.234.567 and 2.500", ["1234567", "2500"]),
        ("1.200 then 3.400 then 4.600", ["1200", "3400", "4600"]),
    ],
)
def test_three_digits_after_a_mark_mean_what_the_page_shows(page: str, values: list[str]) -> None:
    found = numbers_in(page)
    assert ([str(number.value) for number in found], [number.others for number in found]) == (
        values,
        [()] * len(found),
    )


def test_a_page_that_shows_nothing_leaves_both_meanings() -> None:
    (number,) = numbers_in("1.234")
    assert (number.value, number.others) == (Decimal(1234), (Decimal("1.234"),))


def test_a_language_tells_where_numbers_do_not() -> None:
    assert style_of(["Summe 1.234"], languages={"de": 1}).read("1.234") == (Decimal(1234),)
    assert len(style_of(["Total 1.234"], languages={"en": 1}).read("1.234")) == 2


@pytest.mark.parametrize("text", ["1.2.3", "1,23,456.7.8", "A4", "BX2", "9" * 30, "12:30"])
def test_text_that_only_looks_like_a_number_is_none(text: str) -> None:
    assert values_in(text) == []


def test_a_blank_parts_thousands_only_where_the_page_does() -> None:
    assert values_in("12 534,00") == ["12", "534.00"]
    assert values_in("1 028,75 and 12 534,00") == ["1028.75", "12534.00"]


def test_a_part_of_something_longer_is_marked() -> None:
    assert [number.code for number in numbers_in("0012-3456")] == [True, True]
    assert [number.code for number in numbers_in("12 3456")] == [False, False]


@pytest.mark.parametrize(
    ("printed", "mark", "code"),
    [
        ("Total RM8.50", "RM", "MYR"),
        ("USD1,100.00", "USD", "USD"),
        ("35 zł", "zł", "PLN"),
        ("99,50 EUR", "EUR", "EUR"),
        ("1,177円", "円", "JPY"),
        ("10,000원", "원", "KRW"),
        ("Fr. 12.50", "Fr.", "CHF"),
        ("R$ 12,50", "R$", "BRL"),
        ("SUMME EUR 5,00 €", "€", "EUR"),
    ],
)
def test_a_currency_stands_before_or_after_or_touches_its_number(printed: str, mark: str, code: str) -> None:
    (number,) = numbers_in(printed)
    assert number.currency is not None
    assert (printed[slice(*number.currency)], iso_codes(mark)[0]) == (mark, code)


@pytest.mark.parametrize("word", ["ALL", "TOP", "CUP", "PEN"])
def test_a_code_that_is_a_word_is_none_before_a_number(word: str) -> None:
    assert numbers_in(f"{word} 5.00")[0].currency is None


@pytest.mark.parametrize(
    ("text", "amount"), [("2.10", True), ("$5", True), ("5.-", True), ("7", False), ("7.00%", False)]
)
def test_money_has_two_decimals_or_a_currency(text: str, amount: bool) -> None:
    (number,) = numbers_in(text)
    assert number.amount is amount


def test_a_count_after_its_multiplication_sign_is_a_number() -> None:
    assert values_in("Pals x3 98.01 A4") == ["3", "98.01"]


@pytest.mark.parametrize(
    "printed",
    ["1.234,50 €", "$1,234.50", "1 234,50 EUR", "CHF 1'234.50", "1,234円", "R$ 1.234,50", "12,50 zł", "£0.99"],
)
def test_price_parser_reads_the_same(printed: str) -> None:
    (number,) = numbers_in(printed, Style(spaced=" 234" in printed, cents=False if "円" in printed else None))
    assert number.value == Price.fromstring(printed).amount
