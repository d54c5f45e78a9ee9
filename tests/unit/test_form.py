"""Values found on perfect transcripts without the model."""

import json
from decimal import Decimal

import pytest

from tests.forms import NUMBER, TEXT, filled, form, own

# --- receipts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "TOTAL $13.30",
        "Total: 13.30",
        "Total (3 items) 13.30",
        "Amount due 13.30",
        "Total incl. 7% VAT 13.30",
        "合计: 13.30",
    ],
)
def test_a_total_is_the_amount_after_its_label(line: str) -> None:
    assert filled("receipt", "Shop", line)["total"] == 13.30


@pytest.mark.parametrize("line", ["Subtotal 9.00", "Sub total 9.00", "SUB-TOTAL: 9.00", "Total before tax 9.00"])
def test_a_subtotal_is_not_a_total(line: str) -> None:
    found = filled("receipt", "Shop", line)
    assert (found["subtotal"], found["total"]) == (9, None)


@pytest.mark.parametrize("line", ["Tax 7% 2.10", "VAT (20%) £2.10", "Sales tax: 2.10", "税额 2.10"])
def test_a_tax_rate_is_not_a_tax(line: str) -> None:
    assert filled("receipt", "Shop", line)["tax"] == 2.10


@pytest.mark.parametrize("line", ["Date: 04/03/2026", "04/03/2026 14:22", "Sold on 04/03/2026"])
def test_a_date_needs_no_label(line: str) -> None:
    assert filled("receipt", "Shop", line)["date"] == "04/03/2026"


def test_the_merchant_is_the_first_line_that_says_more_than_receipt() -> None:
    assert filled("receipt", "RECEIPT", "Corner Cafe", "Total 1.00")["merchant"] == "Corner Cafe"
    assert filled("invoice", "Acme Ltd. INVOICE", "Total 1.00")["vendor"] == "Acme Ltd."


@pytest.mark.parametrize(
    ("line", "item"),
    [
        ("Green tea 7.50", ("Green tea", None, 7.5)),
        ("2 Green tea 7.50", ("Green tea", 2, 7.5)),
        ("2 x Green tea $7.50", ("Green tea", 2, 7.5)),
        ("Green tea x2 7.50", ("Green tea", 2, 7.5)),
        ("Green tea 2 x 3.75 7.50", ("Green tea", 2, 7.5)),
        ("Windows 11 119.00", ("Windows 11", None, 119)),
        ("Tax software 30.00", ("Tax software", None, 30)),
    ],
)
def test_an_item_is_a_line_that_ends_with_its_price(line: str, item: tuple[str, int | None, float]) -> None:
    (found,) = filled("receipt", "Shop", line, "Total 99.00")["items"]
    assert (found["name"], found["qty"], found["price"]) == item


@pytest.mark.parametrize("line", ["12 Main Street", "Tel. 200-9286", "2026-03-04 12:30", "Card **** 12", "Cash 50.00"])
def test_other_lines_are_not_items(line: str) -> None:
    assert filled("receipt", "Shop", line, "Total 9.00")["items"] == []


def test_below_column_heads_a_long_name_may_have_its_own_line() -> None:
    lines = ["Description Qty Unit price Amount", "Safety shoes size 45", "2 95.00 190.00", "Total 190.00"]
    assert filled("receipt", *lines)["items"] == [{"name": "Safety shoes size 45", "qty": 2, "price": 190}]


def test_a_mark_that_touches_a_price_is_no_part_of_the_name() -> None:
    """A digit was misread as a mark, and its name ended with it."""
    lines = ["Item Quantity Amount", "Gauging capitol 5 #80.60", "SUBTOTAL 480.60"]
    assert filled("receipt", *lines)["items"] == [{"name": "Gauging capitol", "qty": 5, "price": 80.6}]
    lines = ["Description Qty Unit Amount", "Stumbler lasagnas 12 #9.63 593.16", "Total: $593.16"]
    (item,) = filled("invoice", *lines)["line_items"]
    assert list(item.values()) == ["Stumbler lasagnas", 12, 9.63, 593.16]
    (item,) = filled("receipt", "Shop", "Shoes (brown) #80.60", "Total 80.60")["items"]
    assert item["name"] == "Shoes (brown)"


def test_below_column_heads_a_row_with_a_misread_amount_is_an_item_without_one() -> None:
    """It was taken for a line on which the name above goes on."""
    lines = ["Item Qty Price", "Lovingly 3 1.71", "Droids 4 27.6%", "Discomfits 1 10.65", "in blue", "Subtotal 40.00"]
    assert [tuple(item.values()) for item in filled("receipt", *lines)["items"]] == [
        ("Lovingly", 3, 1.71),
        ("Droids", 4, None),
        ("Discomfits in blue", 1, 10.65),
    ]


def test_below_column_heads_prices_may_have_no_decimals() -> None:
    lines = ["Item Qty Price", "Noodles 2 1,200", "Total 1,200"]
    assert filled("receipt", *lines)["items"] == [{"name": "Noodles", "qty": 2, "price": 1200}]


def test_a_total_followed_by_words_is_not_an_item() -> None:
    assert filled("receipt", "Shop", "Tea 3.00", "Total sales (inclusive of tax): 3.00")["total"] == 3
    assert len(filled("receipt", "Shop", "Tea 3.00", "Total sales (inclusive of tax): 3.00")["items"]) == 1


def test_lines_below_the_sums_are_not_items() -> None:
    assert filled("receipt", "Shop", "Tea 5.00", "Total 5.00", "You saved 1.00")["items"] == [
        {"name": "Tea", "qty": None, "price": 5}
    ]


def test_a_gap_read_as_a_newline_does_not_separate_a_label_from_its_amount() -> None:
    found = filled("receipt", "Shop", "Tea", "5.00", "Total", "$5.00")
    assert (found["items"][0]["name"], found["total"], found["currency"]) == ("Tea", 5, "$")


def test_an_empty_page_gives_an_object_of_nulls() -> None:
    empty = dict.fromkeys(("merchant", "date", "currency", "subtotal", "tax", "total"))
    assert filled("receipt", "") == empty | {"items": []}


def test_letters_that_change_with_their_case_match_no_label() -> None:
    """The dotted capital I matched an i, and was not found again by its own lower case."""
    assert filled("receipt", "Shop", "VİSA 5.00", "TİP 1.00", "ınvoice 1", "ſubtotal 2.00", "Total 5.00")["total"] == 5


# --- invoices and forms ---------------------------------------------------------------------------------------------


def test_labels_may_share_a_line() -> None:
    found = filled("invoice", "Acme", "Invoice No: INV-7 Date: 4 Mar 2026", "Bill To: Ann Due: 5 Apr 2026")
    assert (found["invoice_number"], found["date"]) == ("INV-7", "4 Mar 2026")
    assert (found["customer"], found["due_date"]) == ("Ann", "5 Apr 2026")


def test_column_heads_say_what_the_numbers_of_an_item_are() -> None:
    lines = ["Description Qty Price Amount", "Blue paint 3 9.50 28.50", "Total 28.50"]
    assert filled("invoice", *lines)["line_items"] == [
        {"description": "Blue paint", "quantity": 3, "unit_price": 9.5, "amount": 28.5}
    ]
    lines = ["Item Qty Amount", "Model 5 2 28.50", "Total 28.50"]
    assert filled("invoice", *lines)["line_items"] == [
        {"description": "Model 5", "quantity": 2, "unit_price": None, "amount": 28.5}
    ]


def test_an_item_named_like_a_label_stays_an_item() -> None:
    found = filled("invoice", "Acme", "Item Qty Amount", "Currency 5 614.55", "Total $614.55")
    assert (found["currency"], found["line_items"][0]["description"]) == ("$", "Currency")


def test_a_form_pairs_labels_with_their_values() -> None:
    found = filled("form", "Application", "Name: Ann Lee", "Email:", "Phone: 555-0147", "City:", "Leeds")
    assert [(field["label"], field["value"]) for field in found["fields"]] == [
        ("Name", "Ann Lee"),
        ("Email", None),
        ("Phone", "555-0147"),
        ("City", "Leeds"),
    ]


def test_pairs_of_a_form_may_share_a_line() -> None:
    found = filled("form", "Gender: F Date of birth: 1 Mar 1990 Time: 12:30")
    assert [(field["label"], field["value"]) for field in found["fields"]] == [
        ("Gender", "F"),
        ("Date of birth", "1 Mar 1990"),
        ("Time", "12:30"),
    ]


def test_a_form_needs_no_space_after_its_colons() -> None:
    found = filled("form", "Age:42", "Phone:555-01", "See http://a.org")
    assert [field["value"] for field in found["fields"]] == ["42", "555-01"]


@pytest.mark.parametrize(
    ("line", "number"), [("Invoice nr INV-2024", "INV-2024"), ("Invoice No: 17.", "17"), ("Invoice (AB-7)", "AB-7")]
)
def test_an_invoice_number_is_a_whole_word_without_the_marks_around_it(line: str, number: str) -> None:
    assert filled("invoice", "Acme", line)["invoice_number"] == number


def test_a_text_ends_with_its_line_and_before_the_next_label() -> None:
    found = filled("invoice", "Corner Cafe", "$5.00", "Bill To: Ann Phone: 555-123")
    assert (found["vendor"], found["customer"]) == ("Corner Cafe", "Ann")


# --- sums -----------------------------------------------------------------------------------------------------------


def test_sums_are_exact_decimals() -> None:
    checks = form("receipt", "Shop", "A1 0.10", "B2 0.20", "Subtotal 0.30", "Tax 0.05", "Total 0.36").checks()
    assert [(check.rule, check.right, check.holds) for check in checks] == [
        ("items = subtotal", Decimal("0.30"), True),
        ("subtotal + tax = total", Decimal("0.36"), False),
    ]


def test_items_with_a_price_and_a_total_are_summed_by_their_totals() -> None:
    row = {"type": "object", "properties": {"name": TEXT, "qty": NUMBER, "price": NUMBER, "total": NUMBER}}
    lines = ["Item Qty Price Total", "Tea 2 3.00 6.00", "Subtotal 6.00"]
    checks = own(*lines, items={"type": "array", "items": row}, subtotal=NUMBER).checks()
    assert [(check.rule, check.holds) for check in checks] == [
        ("items = subtotal", True),
        ("items[0]: quantity x unit price = amount", True),
    ]


def test_a_sum_with_a_missing_part_is_not_checked() -> None:
    assert form("receipt", "Shop", "Tea 1.00", "Tax 1.00").checks() == []


# --- a caller's own schema ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["invoice_number", "invoiceNumber", "Invoice No", "invoice_no"])
def test_a_property_name_finds_the_label_it_means(name: str) -> None:
    assert json.loads(own("Invoice No: 17", **{name: TEXT}).content()) == {name: "17"}


def test_the_words_of_a_property_name_are_a_label_too() -> None:
    asked = own("Room number: 12", "Guest name: Ann", room_number={"type": "integer"}, guest_name=TEXT)
    assert json.loads(asked.content()) == {"room_number": 12, "guest_name": "Ann"}
    assert asked.questions == {}


def test_a_number_is_the_first_one_after_its_label_and_whole() -> None:
    asked = own("Room number: 12 Floor: 3", "Account number: 0012-3456", room_number=NUMBER, account_number=NUMBER)
    assert json.loads(asked.content()) == {"room_number": 12, "account_number": None}


def test_a_candidate_is_not_a_date() -> None:
    assert json.loads(own("Candidate: Ann Lee", candidate=TEXT).content()) == {"candidate": "Ann Lee"}


def test_a_name_used_twice_finds_its_label_for_both() -> None:
    inner = {"type": "object", "properties": {"phone": TEXT}}
    assert json.loads(own("Phone: 555", a=inner, b=inner).content()) == {"a": {"phone": "555"}, "b": {"phone": "555"}}


@pytest.mark.parametrize("name", ["", "_", "__ -"])
def test_a_property_without_a_word_in_its_name_has_no_label(name: str) -> None:
    assert list(own("Guest: Ann", **{name: TEXT}).questions) == [name]


def test_every_value_has_its_span_and_its_line() -> None:
    asked = own("Room number: 12", "Guest name: Ann", room_number={"type": "integer"}, guest_name=TEXT)
    assert [asked.page.text[slice(*field.span)] for field in asked.fields() if field.span] == ["12", "Ann"]
    assert [asked.line_at(field.span) for field in asked.fields() if field.span] == [
        "Room number: 12",
        "Guest name: Ann",
    ]
