"""Questions that a form leaves to the model, schemas of a request's own, and any page at all."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from modes.form import Form
from modes.schemas import SCHEMAS, parse
from modes.values import decimal_mark, numbers
from tests.forms import NUMBER, TEXT, filled, form, own


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


def test_a_word_is_found_only_whole() -> None:
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


@pytest.mark.parametrize("name", ["invoice_number", "invoiceNumber", "Invoice No", "invoice_no"])
def test_a_propertys_name_finds_the_label_that_it_means(name: str) -> None:
    assert json.loads(own("Invoice No: 17", **{name: TEXT}).content()) == {name: "17"}


def test_a_propertys_own_words_are_a_label_too() -> None:
    asked = own("Room number: 12", "Guest name: Ann", room_number={"type": "integer"}, guest_name=TEXT)
    assert json.loads(asked.content()) == {"room_number": 12, "guest_name": "Ann"}
    assert asked.questions == {}


def test_a_number_is_the_first_whole_one_after_its_label() -> None:
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


def test_every_value_has_its_place_on_the_page() -> None:
    asked = own("Room number: 12", "Guest name: Ann", room_number={"type": "integer"}, guest_name=TEXT)
    assert [asked.page.text[slice(*field.span)] for field in asked.fields() if field.span] == ["12", "Ann"]
    assert [asked.line_at(field.span) for field in asked.fields() if field.span] == [
        "Room number: 12",
        "Guest name: Ann",
    ]


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
