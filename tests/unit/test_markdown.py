import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modes.charts import ChartFinisher
from modes.finisher import Chain, Finisher, RawFinisher
from modes.markdown import FormulaFinisher, MarkdownFinisher, MathFinisher
from modes.spotting import SpottingFinisher
from modes.tables import TableFinisher

PROPERTY = settings(max_examples=100, deadline=None, derandomize=True, database=None)
FRAGMENTS = [
    *("<fcel>", "<ecel>", "<lcel>", "<ucel>", "<xcel>", "<nl>", "<fcel>x", "<nl>", "<fc", "<"),
    *(r"\(", r"\)", r"\[", r"\]", r"\\", "\\", r"\ ", "$", "$$", r"\frac{1}{2}"),
    *(" ", "\n", "\n\n", "\t", "x", "word two", "é", "|", r"\|", "a | b\n", "--- | ---\n"),
    *("<|LOC_7|>", "<|LOC_1000|>" * 8, "<|TEXT_START|>", "<|", "|>"),
]
SOUPS = st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join)
FINISHERS: dict[str, Callable[[], Finisher]] = {
    "raw": RawFinisher,
    "math": MathFinisher,
    "markdown": MarkdownFinisher,
    "formula": FormulaFinisher,
    "chart": ChartFinisher,
    "spotting": lambda: SpottingFinisher(640, 480),
    "otsl": lambda: TableFinisher("otsl", streaming=True),
    "auto": lambda: TableFinisher("auto", streaming=True),
    "pipes": lambda: TableFinisher("markdown", streaming=True),
    "html": lambda: TableFinisher("html", streaming=True),
    "whole": lambda: TableFinisher("auto", streaming=False),
}


def finished(finisher: Finisher, *pieces: str) -> str:
    return "".join(map(finisher.push, pieces)) + finisher.end()


def cut(text: str, places: Sequence[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize("name", FINISHERS)
@PROPERTY
@given(raw=SOUPS, places=st.lists(st.integers(0, 1000), max_size=6))
@example(raw=r"\(\<fcel>x", places=[])
def test_the_result_does_not_depend_on_how_the_answer_is_cut(name: str, raw: str, places: list[int]) -> None:
    make = FINISHERS[name]
    expected = finished(make(), raw)
    assert finished(make(), *raw) == expected
    assert finished(make(), *cut(raw, places)) == expected


@pytest.mark.parametrize("text", ["", r"\(x\) <fcel>a<nl> $|"])
def test_raw_text_stays_raw(text: str) -> None:
    assert finished(RawFinisher(), text) == text


def test_a_chain_passes_on_what_its_first_finisher_held_back() -> None:
    assert finished(Chain(MathFinisher(), FormulaFinisher()), r"\[ x") == "$$x$$"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (r"so \( x \) is", "so $x$ is"),
        (r"\[ x = 1 \]", "$$x = 1$$"),
        ("\\[\n x \n\\]", "$$x$$"),
        (r"\(a\)\(b\)", "$a$$b$"),
        (r"\( \frac{1}{2} \)", r"$\frac{1}{2}$"),
        (r"\(x\ \)", "$x$"),  # the space that LaTeX writes with a backslash
        (r"\[\[ x \]\]", "$$x$$"),
        (r"a \( \) b", "a  b"),  # two dollars would open the next formula
        (r"\[ a \\[4pt] b \\ \]", r"$$a \\[4pt] b \\$$"),
        (r"\(x\) and (y\)", r"$x$ and (y\)"),
        (r"\\( x \\)", r"\\( x \\)"),
        (r"\[ \text{\(x\)} \]", r"$$\text{\(x\)}$$"),
    ],
)
def test_formulas_are_put_between_dollars(raw: str, expected: str) -> None:
    assert finished(MarkdownFinisher(), raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (r"\( x ", "$x$"),
        (r"\[ x", "$$x$$"),
        ("\\[ x \\", "$$x$$"),
        (r"\[ x \\", r"$$x \\$$"),
        (r"a \( ", "a "),
        ("a \\", "a \\"),
    ],
)
def test_a_formula_that_breaks_off_is_closed(raw: str, expected: str) -> None:
    assert finished(MarkdownFinisher(), raw) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  Invoice | 12\n\n- €5.00 | 10 %\n",
        "hyphen-\nation and 1 < 2 <b>",
        "C:\\dir \\* \\$5 ] ) \\",
        r"a stray \) and \]",
        "\n\nline  \nline\n\n",
    ],
)
def test_other_text_is_untouched(text: str) -> None:
    assert finished(MarkdownFinisher(), text) == text


def test_a_formula_is_streamed_as_it_comes() -> None:
    finisher = MarkdownFinisher()
    pieces = ["so ", "\\", "( ", "x", " + y ", "\\", ") is"]
    assert [finisher.push(piece) for piece in pieces] == ["so", "", "", " $x", " + y", "", "$ is"]


def test_a_table_in_text_is_set_apart() -> None:
    raw = "Total:\n<fcel>a<lcel><nl><fcel>1|2<fcel>3<nl>\nThe end."
    assert finished(MarkdownFinisher(), raw) == ("Total:\n\n| a |  |\n| --- | --- |\n| 1\\|2 | 3 |\n\nThe end.")


@pytest.mark.parametrize("closing", ["", r" \)"])
def test_a_formula_ends_with_its_cell(closing: str) -> None:
    raw = rf"<fcel>\( x{closing}<fcel>\( y \)<nl>"
    assert finished(MarkdownFinisher(), raw) == "| $x$ | $y$ |\n| --- | --- |"


@PROPERTY
@given(SOUPS.map(lambda soup: soup.replace("$", "")))
def test_dollars_come_in_pairs(raw: str) -> None:
    text = re.sub(r"\\.", "", finished(MathFinisher(), raw), flags=re.DOTALL)
    assert text.count("$") % 2 == 0


@pytest.mark.parametrize(
    "raw",
    [
        "x + 1",
        r"\[ x + 1 \]",
        r"\( x + 1 \)",
        "$$x + 1$$",
        "$ x + 1 $",
        "\n$$\nx + 1\n$$\n",
        r"\[\[x + 1\]\]",
        r"\[ x + 1",
        "x + 1\\",
        "$$x + 1$",
    ],
)
def test_a_formula_has_one_pair_of_double_dollars(raw: str) -> None:
    assert finished(FormulaFinisher(), raw) == "$$x + 1$$"


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([r"\( a \) and \( b \)"], "$a$ and $b$"),
        (["\\", "( a \\", ") and ", "\\( b \\)"], "$a$ and $b$"),
        ([r"\( a \)"], "$$a$$"),
        (["$ a $ and $ b $"], "$ a $ and $ b $"),
    ],
)
def test_text_with_formulas_in_it_is_no_formula(pieces: list[str], expected: str) -> None:
    assert finished(FormulaFinisher(), *pieces) == expected


@pytest.mark.parametrize("raw", ["", " \n", "$$", r"\[ \]", "\\", "$$ $$"])
def test_an_empty_formula_is_an_empty_answer(raw: str) -> None:
    assert finished(FormulaFinisher(), raw) == ""


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (r"\[ a \\[4pt] b \\ \]", r"$$a \\[4pt] b \\$$"),
        (r"x = 5\$", r"$$x = 5\$$$"),
        (r"\left( a \right]", r"$$\left( a \right]$$"),
        (r"\[a\] \[b\]", "$$a$$ $$b$$"),
        (r"a \text{ if \(x\)}", r"$$a \text{ if $x$}$$"),
    ],
)
def test_the_inside_of_a_formula_is_untouched(raw: str, expected: str) -> None:
    assert finished(FormulaFinisher(), raw) == expected


def test_the_inside_of_a_formula_is_streamed_as_it_comes() -> None:
    finisher = FormulaFinisher()
    pieces = ["\\", "[ ", "x", " + ", "1", " \\", "]"]
    assert [finisher.push(piece) for piece in pieces] == ["", "", "$$x", " +", " 1", "", ""]
    assert finisher.end() == "$$"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("The fee is $5 today and $10 tomorrow.", r"The fee is \$5 today and \$10 tomorrow."),
        (r"US$5 for \(x\)", r"US\$5 for $x$"),
        ("$5x^2$ is a formula", "$5x^2$ is a formula"),
        (r"already \$5", r"already \$5"),
        ("$ alone", "$ alone"),
    ],
)
def test_dollars_of_money_begin_no_formula(raw: str, expected: str) -> None:
    assert finished(MarkdownFinisher(), raw) == finished(MarkdownFinisher(), *raw) == expected
