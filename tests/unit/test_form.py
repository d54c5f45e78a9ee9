"""From perfect transcripts to values: what is found, what is left to the model, and that all of it is on the page."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from modes.form import Form
from modes.schemas import SCHEMAS, parse
from modes.values import decimal_mark, numbers


def filled(mode: str, *lines: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(form(mode, *lines).content())
    return found


def form(mode: str, *lines: str) -> Form:
    return Form(parse(SCHEMAS[mode]), "\n".join(lines))


def own(*lines: str, **properties: Any) -> Form:
    return Form(parse({"type": "object", "properties": properties}), "\n".join(lines))


TEXT, NUMBER = {"type": "string"}, {"type": "number"}

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
def test_a_total_is_what_stands_behind_its_label(line: str) -> None:
    assert filled("receipt", "Shop", line)["total"] == 13.30


@pytest.mark.parametrize("line", ["Subtotal 9.00", "Sub total 9.00", "SUB-TOTAL: 9.00", "Total before tax 9.00"])
def test_a_subtotal_is_no_total(line: str) -> None:
    found = filled("receipt", "Shop", line)
    assert (found["subtotal"], found["total"]) == (9, None)


@pytest.mark.parametrize("line", ["Tax 7% 2.10", "VAT (20%) £2.10", "Sales tax: 2.10", "税额 2.10"])
def test_a_rate_is_no_tax(line: str) -> None:
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
def test_other_lines_are_no_items(line: str) -> None:
    assert filled("receipt", "Shop", line, "Total 9.00")["items"] == []


def test_below_columns_with_heads_a_long_name_may_have_a_line_to_itself() -> None:
    lines = ["Description Qty Unit price Amount", "Safety shoes size 45", "2 95.00 190.00", "Total 190.00"]
    assert filled("receipt", *lines)["items"] == [{"name": "Safety shoes size 45", "qty": 2, "price": 190}]


def test_prices_may_be_whole_where_the_columns_have_heads_and_no_decimals() -> None:
    lines = ["Item Qty Price", "Noodles 2 1,200", "Total 1,200"]
    assert filled("receipt", *lines)["items"] == [{"name": "Noodles", "qty": 2, "price": 1200}]


def test_a_total_with_words_behind_it_is_no_item() -> None:
    assert filled("receipt", "Shop", "Tea 3.00", "Total sales (inclusive of tax): 3.00")["total"] == 3
    assert len(filled("receipt", "Shop", "Tea 3.00", "Total sales (inclusive of tax): 3.00")["items"]) == 1


def test_what_stands_below_the_sums_is_no_item() -> None:
    assert filled("receipt", "Shop", "Tea 5.00", "Total 5.00", "You saved 1.00")["items"] == [
        {"name": "Tea", "qty": None, "price": 5}
    ]


def test_a_gap_that_was_read_as_a_new_line_does_not_part_a_label_from_its_amount() -> None:
    found = filled("receipt", "Shop", "Tea", "5.00", "Total", "$5.00")
    assert (found["items"][0]["name"], found["total"], found["currency"]) == ("Tea", 5, "$")


def test_an_empty_page_gives_an_object_of_nulls() -> None:
    empty = dict.fromkeys(("merchant", "date", "currency", "subtotal", "tax", "total"))
    assert filled("receipt", "") == empty | {"items": []}


# --- invoices and forms ---------------------------------------------------------------------------------------------


def test_labels_may_share_a_line() -> None:
    found = filled("invoice", "Acme", "Invoice No: INV-7 Date: 4 Mar 2026", "Bill To: Ann Due: 5 Apr 2026")
    assert (found["invoice_number"], found["date"]) == ("INV-7", "4 Mar 2026")
    assert (found["customer"], found["due_date"]) == ("Ann", "5 Apr 2026")


def test_the_columns_head_says_what_the_numbers_of_an_item_are() -> None:
    lines = ["Description Qty Price Amount", "Blue paint 3 9.50 28.50", "Total 28.50"]
    assert filled("invoice", *lines)["line_items"] == [
        {"description": "Blue paint", "quantity": 3, "unit_price": 9.5, "amount": 28.5}
    ]
    lines = ["Item Qty Amount", "Model 5 2 28.50", "Total 28.50"]
    assert filled("invoice", *lines)["line_items"] == [
        {"description": "Model 5", "quantity": 2, "unit_price": None, "amount": 28.5}
    ]


def test_an_item_named_as_a_label_stays_an_item() -> None:
    found = filled("invoice", "Acme", "Item Qty Amount", "Currency 5 614.55", "Total $614.55")
    assert (found["currency"], found["line_items"][0]["description"]) == ("$", "Currency")


def test_a_form_has_its_labels_with_their_values() -> None:
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


def test_a_form_needs_no_blank_behind_its_colons() -> None:
    found = filled("form", "Age:42", "Phone:555-01", "See http://a.org")
    assert [field["value"] for field in found["fields"]] == ["42", "555-01"]


@pytest.mark.parametrize(
    ("line", "number"), [("Invoice nr INV-2024", "INV-2024"), ("Invoice No: 17.", "17"), ("Invoice (AB-7)", "AB-7")]
)
def test_an_invoices_number_is_a_whole_word_without_the_marks_around_it(line: str, number: str) -> None:
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


def test_items_that_have_a_price_and_a_total_are_summed_by_their_totals() -> None:
    row = {"type": "object", "properties": {"name": TEXT, "qty": NUMBER, "price": NUMBER, "total": NUMBER}}
    lines = ["Item Qty Price Total", "Tea 2 3.00 6.00", "Subtotal 6.00"]
    (check,) = own(*lines, items={"type": "array", "items": row}, subtotal=NUMBER).checks()
    assert check.holds


def test_a_sum_with_a_part_missing_is_not_checked() -> None:
    assert form("receipt", "Shop", "Tea 1.00", "Total 1.00").checks() == []


# --- what is left to the model --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer() -> LLTokenizer:
    return LLTokenizer("byte")


def allows(form: Form, tokenizer: LLTokenizer, answer: str) -> bool:
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(form.grammar()))
    tokens = tokenizer.tokenize_str(answer)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def test_a_page_with_one_candidate_each_leaves_no_question() -> None:
    assert form("receipt", "Shop", "Total 5.00", "Total: 5.00").questions == {}


def test_of_several_candidates_the_model_may_take_only_one_of_them(tokenizer: LLTokenizer) -> None:
    asked = form("receipt", "Shop", "Total 1.00", "Total 2.00", "Tax 3.00")
    assert list(asked.questions) == ["total"]
    assert allows(asked, tokenizer, '{"total":2.00}')
    assert not allows(asked, tokenizer, '{"total":3.00}')
    assert not allows(asked, tokenizer, '{"total":null}')
    asked.settle('{"total":2.00}')
    assert json.loads(asked.content())["total"] == 2


def test_a_text_that_no_label_names_is_a_run_of_whole_words_of_one_line(tokenizer: LLTokenizer) -> None:
    asked = own("Green tea", "and cake", nickname=TEXT)
    assert allows(asked, tokenizer, '{"nickname":"Green tea"}')
    assert allows(asked, tokenizer, '{"nickname":null}')
    assert not allows(asked, tokenizer, '{"nickname":"Gree"}')
    assert not allows(asked, tokenizer, '{"nickname":"tea and"}')
    assert not allows(asked, tokenizer, '{"nickname":"black tea"}')


def test_words_are_whole_with_the_marks_inside_them(tokenizer: LLTokenizer) -> None:
    asked = own("Total 12.50 to O'Brien-Lee, Inc.", nickname=TEXT)
    assert allows(asked, tokenizer, '{"nickname":"O\'Brien-Lee, Inc"}')
    for part in ("50", "Brien", ".", " ", " to"):
        assert not allows(asked, tokenizer, json.dumps({"nickname": part}, separators=(",", ":")))


def test_a_word_is_found_where_it_stands_whole() -> None:
    asked = own("steak house", "Green tea", nickname=TEXT)
    asked.settle('{"nickname":"tea"}')
    (field,) = asked.fields()
    assert field.span is not None
    assert asked.line_at(field.span) == "Green tea"


def test_a_page_of_a_thousand_lines_leaves_a_grammar_that_works(tokenizer: LLTokenizer) -> None:
    """One rule a line was more than the grammar's parser takes."""
    asked = own(*(f"line {i:04}" for i in range(1000)), nickname=TEXT)
    assert allows(asked, tokenizer, '{"nickname":"line 0999"}')


def test_a_number_that_no_label_names_is_one_of_the_page(tokenizer: LLTokenizer) -> None:
    asked = own("Rooms 12 of 1,500", guests=NUMBER, floors={"type": "integer"})
    assert allows(asked, tokenizer, '{"guests":1500,"floors":12}')
    assert not allows(asked, tokenizer, '{"guests":150,"floors":12}')


def test_quotes_and_backslashes_of_a_page_never_break_the_json(tokenizer: LLTokenizer) -> None:
    asked = own('say "hi" C:\\new', nickname=TEXT)
    assert allows(asked, tokenizer, '{"nickname":"hi"}')
    assert not allows(asked, tokenizer, '{"nickname":"say \\"hi"}')


def test_lists_that_nothing_tells_apart_are_written_by_the_model(tokenizer: LLTokenizer) -> None:
    asked = own("red green", colours={"type": "array", "items": TEXT, "maxItems": 2})
    assert allows(asked, tokenizer, '{"colours":["red","green"]}')
    assert not allows(asked, tokenizer, '{"colours":["red","green","red"]}')
    asked.settle('{"colours":["red","green"]}')
    assert json.loads(asked.content()) == {"colours": ["red", "green"]}


def test_a_schemas_own_words_may_be_chosen_and_have_no_place(tokenizer: LLTokenizer) -> None:
    asked = own("Paid in cash", method={"enum": ["cash", "card"]}, paid={"type": "boolean"})
    assert allows(asked, tokenizer, '{"method":"card","paid":true}')
    asked.settle('{"method":"card","paid":true}')
    assert [(field.value, field.span) for field in asked.fields()] == [("card", None), (True, None)]


def test_an_answer_that_was_cut_off_leaves_the_likeliest() -> None:
    asked = form("receipt", "Shop", "Total 1.00", "Total 2.00")
    asked.settle('{"total":2')
    assert json.loads(asked.content())["total"] == 1


# --- a caller's own schema ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["invoice_number", "invoiceNumber", "Invoice No", "invoice_no"])
def test_a_propertys_name_finds_the_label_that_it_means(name: str) -> None:
    assert json.loads(own("Invoice No: 17", **{name: TEXT}).content()) == {name: "17"}


def test_a_propertys_own_words_are_a_label_too() -> None:
    asked = own("Room number: 12", "Guest name: Ann", room_number={"type": "integer"}, guest_name=TEXT)
    assert json.loads(asked.content()) == {"room_number": 12, "guest_name": "Ann"}
    assert asked.questions == {}


def test_a_number_is_the_first_one_behind_its_label_and_whole() -> None:
    asked = own("Room number: 12 Floor: 3", "Account number: 0012-3456", room_number=NUMBER, account_number=NUMBER)
    assert json.loads(asked.content()) == {"room_number": 12, "account_number": None}


def test_a_candidate_is_no_date() -> None:
    assert json.loads(own("Candidate: Ann Lee", candidate=TEXT).content()) == {"candidate": "Ann Lee"}


def test_one_name_at_two_places_finds_its_label_for_both() -> None:
    inner = {"type": "object", "properties": {"phone": TEXT}}
    assert json.loads(own("Phone: 555", a=inner, b=inner).content()) == {"a": {"phone": "555"}, "b": {"phone": "555"}}


@pytest.mark.parametrize("name", ["", "_", "__ -"])
def test_a_property_without_a_word_in_its_name_has_no_label(name: str) -> None:
    assert list(own("Guest: Ann", **{name: TEXT}).questions) == [name]


def test_rows_of_more_than_printed_values_are_left_to_the_model(tokenizer: LLTokenizer) -> None:
    row = {"type": "object", "properties": {"name": TEXT, "price": NUMBER, "paid": {"type": "boolean"}}}
    asked = own("Tea 3.00", "Total 3.00", items={"type": "array", "items": row})
    assert allows(asked, tokenizer, '{"items":[{"name":"Tea","price":3.00,"paid":true}]}')
    assert not allows(asked, tokenizer, '{"items":[{"name":"Cake","price":3.00,"paid":true}]}')


def test_every_value_says_where_it_stands() -> None:
    asked = own("Room number: 12", "Guest name: Ann", room_number={"type": "integer"}, guest_name=TEXT)
    assert [asked.page.text[slice(*field.span)] for field in asked.fields() if field.span] == ["12", "Ann"]
    assert [asked.line_at(field.span) for field in asked.fields() if field.span] == [
        "Room number: 12",
        "Guest name: Ann",
    ]


# --- any page at all ------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    """Total|Sub total|Tax|Date|Invoice No|Bill To|Item|Qty|Price|合计|税|:|#|-|"|\\|$|€|¥1200|12|1.234,50|3.00|5%|x2
    |2 x|٣|VİSA|ſubtotal|2026-03-04|4 Mar 2026|Tea""".split("|")
)
PAGES = st.lists(st.lists(WORDS | st.text(max_size=6), max_size=6).map(" ".join), max_size=8).map("\n".join)
OWN = {
    "type": "object",
    "properties": {
        "total": NUMBER,
        "note": TEXT,
        "guests": {"type": "integer"},
        "tags": {"type": "array", "items": TEXT},
    },
}


def stands(value: Any, text: str) -> bool:
    if isinstance(value, str):
        return " ".join(value.split()) in " ".join(text.split())
    return value is None or any(number.value == value for number in numbers(text, decimal_mark(text)))


def test_letters_that_change_with_their_case_are_no_labels_letters() -> None:
    """The dotted capital I matched an i, and was not found again by its own lower case."""
    assert filled("receipt", "Shop", "VİSA 5.00", "TİP 1.00", "ınvoice 1", "ſubtotal 2.00", "Total 5.00")["total"] == 5


@settings(max_examples=150, deadline=None)
@given(PAGES, st.sampled_from([*SCHEMAS.values(), OWN]))
def test_whatever_the_page_the_object_is_valid_and_on_it_and_the_grammar_compiles(text: str, schema: Any) -> None:
    asked = Form(parse(schema), text)
    assert list(json.loads(asked.content())) == list(schema["properties"])
    assert all(stands(field.value, text) for field in asked.fields())
    if asked.questions:
        assert LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(asked.grammar())) == ""
