"""Questions of a form to the model: its grammar allows nothing that is not on the page, and its answer is filled in."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from modes.form import Form
from modes.page import PageText
from modes.schemas import SCHEMAS, parse
from tests.forms import NUMBER, TEXT, form, own

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


@pytest.fixture(scope="module")
def tokenizer() -> LLTokenizer:
    return LLTokenizer("byte")


def allows(form: Form, tokenizer: LLTokenizer, answer: str) -> bool:
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(form.grammar()))
    tokens = tokenizer.tokenize_str(answer)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def test_a_page_with_one_candidate_for_each_field_leaves_no_question() -> None:
    assert form("receipt", "Shop", "Total 5.00", "Total: 5.00").questions == {}


def test_the_model_must_choose_one_of_several_candidates(tokenizer: LLTokenizer) -> None:
    asked = form("receipt", "Shop", "Total 1.00", "Total 2.00", "Tax 3.00")
    assert list(asked.questions) == ["total"]
    assert allows(asked, tokenizer, '{"total":2.00}')
    assert not allows(asked, tokenizer, '{"total":3.00}')
    assert not allows(asked, tokenizer, '{"total":null}')
    asked.settle('{"total":2.00}')
    assert json.loads(asked.content())["total"] == 2


def test_a_text_without_a_label_is_a_run_of_whole_words_of_one_line(tokenizer: LLTokenizer) -> None:
    asked = own("Green tea", "and cake", nickname=TEXT)
    assert allows(asked, tokenizer, '{"nickname":"Green tea"}')
    assert allows(asked, tokenizer, '{"nickname":null}')
    assert not allows(asked, tokenizer, '{"nickname":"Gree"}')
    assert not allows(asked, tokenizer, '{"nickname":"tea and"}')
    assert not allows(asked, tokenizer, '{"nickname":"black tea"}')


def test_whole_words_include_the_marks_inside_them(tokenizer: LLTokenizer) -> None:
    asked = own("Total 12.50 to O'Brien-Lee, Inc.", nickname=TEXT)
    assert allows(asked, tokenizer, '{"nickname":"O\'Brien-Lee, Inc"}')
    for part in ("50", "Brien", ".", " ", " to"):
        assert not allows(asked, tokenizer, json.dumps({"nickname": part}, separators=(",", ":")))


def test_a_word_is_found_where_it_is_whole() -> None:
    asked = own("steak house", "Green tea", nickname=TEXT)
    asked.settle('{"nickname":"tea"}')
    (field,) = asked.fields()
    assert field.span is not None
    assert asked.line_at(field.span) == "Green tea"


def test_a_page_of_a_thousand_lines_has_a_grammar_that_works(tokenizer: LLTokenizer) -> None:
    """One rule a line was more than the grammar's parser accepts."""
    asked = own(*(f"line {i:04}" for i in range(1000)), nickname=TEXT)
    assert allows(asked, tokenizer, '{"nickname":"line 0999"}')


def test_a_number_without_a_label_is_one_of_the_page(tokenizer: LLTokenizer) -> None:
    asked = own("Rooms 12 of 1,500", guests=NUMBER, floors={"type": "integer"})
    assert allows(asked, tokenizer, '{"guests":1500,"floors":12}')
    assert not allows(asked, tokenizer, '{"guests":150,"floors":12}')


def test_quotes_and_backslashes_on_a_page_never_break_the_json(tokenizer: LLTokenizer) -> None:
    asked = own('say "hi" C:\\new', nickname=TEXT)
    assert allows(asked, tokenizer, '{"nickname":"hi"}')
    assert not allows(asked, tokenizer, '{"nickname":"say \\"hi"}')


def test_lists_without_recognisable_rows_are_written_by_the_model(tokenizer: LLTokenizer) -> None:
    asked = own("red green", colours={"type": "array", "items": TEXT, "maxItems": 2})
    assert allows(asked, tokenizer, '{"colours":["red","green"]}')
    assert not allows(asked, tokenizer, '{"colours":["red","green","red"]}')
    asked.settle('{"colours":["red","green"]}')
    assert json.loads(asked.content()) == {"colours": ["red", "green"]}


def test_a_schemas_own_words_may_be_chosen_and_have_no_span(tokenizer: LLTokenizer) -> None:
    asked = own("Paid in cash", method={"enum": ["cash", "card"]}, paid={"type": "boolean"})
    assert allows(asked, tokenizer, '{"method":"card","paid":true}')
    asked.settle('{"method":"card","paid":true}')
    assert [(field.value, field.span) for field in asked.fields()] == [("card", None), (True, None)]


def test_an_answer_that_was_cut_off_leaves_the_most_likely_candidate() -> None:
    asked = form("receipt", "Shop", "Total 1.00", "Total 2.00")
    asked.settle('{"total":1')
    assert json.loads(asked.content())["total"] == 2  # what is to be paid stands last


def test_rows_with_more_than_printed_values_are_left_to_the_model(tokenizer: LLTokenizer) -> None:
    row = {"type": "object", "properties": {"name": TEXT, "price": NUMBER, "paid": {"type": "boolean"}}}
    asked = own("Tea 3.00", "Total 3.00", items={"type": "array", "items": row})
    assert allows(asked, tokenizer, '{"items":[{"name":"Tea","price":3.00,"paid":true}]}')
    assert not allows(asked, tokenizer, '{"items":[{"name":"Cake","price":3.00,"paid":true}]}')


def is_printed(value: Any, page: PageText) -> bool:
    if isinstance(value, str):
        words = " ".join(page.views.shown.split())
        return all(part in words for part in value.split(", "))  # what is ticked is listed with commas
    numbers = [number for line in page.lines for own in line.numbers for number in (own.value, *own.others)]
    return value is None or any(abs(number) == abs(value) for number in numbers)


@settings(max_examples=150, deadline=None)
@given(PAGES, st.sampled_from([*SCHEMAS.values(), OWN]))
def test_any_page_gives_an_object_of_printed_values_and_a_grammar_that_compiles(text: str, schema: Any) -> None:
    asked = Form(parse(schema), text)
    assert list(json.loads(asked.content())) == list(schema["properties"])
    assert all(is_printed(field.value, asked.page) for field in asked.fields())
    if asked.questions:
        assert LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(asked.grammar())) == ""
