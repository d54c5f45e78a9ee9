"""Literal text in Markdown: what a reader sees is the text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layout.markdown import escape
from tests.pages import kinds, marked, shown

SIGNS = st.text(st.sampled_from("*_~`#-+=>|<>[]()!&;:.1a9 \\$"), max_size=14)


@pytest.mark.parametrize(
    "text",
    [
        "2 * 3 = 6",
        "snake_case_name",
        "a < b and c > d",
        "R&D",
        "it costs $5",
        "[1] Smith",
        "5* and 6",
        "C# and F#",
        "Name: ______ Date: ______",
        "about ~5",
    ],
)
def test_what_is_no_markup_keeps_its_form(text: str) -> None:
    assert escape.line_start(escape.inline(text)) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("# 5", r"\# 5"),
        ("1986. A year", r"1986\. A year"),
        ("- 5", r"\- 5"),
        ("> 5", r"\> 5"),
        ("---", r"\---"),
        ("===", r"\==="),
        ("[a]: b", r"\[a]: b"),
        ("*a*", r"\*a*"),
        ("_a_", r"\_a_"),
        ("~~a~~", r"\~\~a~~"),
        ("`a`", r"\`a\`"),
        ("<b>", r"\<b>"),
        ("&amp;", r"\&amp;"),
        ("[a](b)", r"[a\](b)"),
        ("$5 or $6", r"\$5 or \$6"),
        (r"C:\_x", r"C:\\_x"),
    ],
)
def test_what_would_be_markup_gets_a_backslash(text: str, escaped: str) -> None:
    assert escape.line_start(escape.inline(text)) == escaped


@settings(max_examples=300, deadline=None)
@given(text=SIGNS)
def test_any_text_is_shown_as_it_is(text: str) -> None:
    text = " ".join(text.split())
    escaped = escape.line_start(escape.inline(text))
    assert kinds(escaped) == ["p"][: len(text)]
    assert not marked(escaped)
    assert shown(escaped) == text


@settings(max_examples=200, deadline=None)
@given(first=SIGNS, second=SIGNS)
def test_text_that_continues_a_paragraph_closes_nothing_in_it(first: str, second: str) -> None:
    first, second = " ".join(first.split()), " ".join(second.split())
    joined = f"{escape.line_start(escape.inline(first))} {escape.inline(second, strict=True)}".strip()
    assert not marked(joined)


def test_formulas_keep_what_is_in_them() -> None:
    protected = escape.protect(r"so \( a_1 * b_1 \) and *b*")
    assert protected.restore(escape.inline(protected.text)) == r"so $a_1 * b_1$ and \*b*"


def test_a_formula_with_a_line_end_in_it_comes_on_one_line() -> None:
    assert escape.protect("\\( a +\n b \\)").formulas == ("$a + b$",)


def test_dollars_around_a_formula_are_its_delimiters() -> None:
    protected = escape.protect(r"so $x^2$ is")
    assert protected.formulas == ("$x^2$",)


def test_sums_of_money_are_no_formula() -> None:
    assert not escape.protect("from $5 to $6").formulas


def test_money_beside_a_formula_is_escaped() -> None:
    protected = escape.protect(r"$5 for \( x \)")
    assert protected.restore(escape.inline(protected.text)) == r"\$5 for $x$"


def test_a_formula_that_the_model_did_not_close_ends_with_its_block() -> None:
    assert escape.protect(r"so \( x + 1").formulas == ("$x + 1$",)


def test_code_gets_a_fence_longer_than_any_in_it() -> None:
    assert escape.code("a\n```\nb") == "````\na\n```\nb\n````"


@pytest.mark.parametrize("text", ["C #", "#", "# 5 ##"])
def test_hashes_of_a_heading_are_shown(text: str) -> None:
    assert shown(f"## {escape.heading(text)}") == text
