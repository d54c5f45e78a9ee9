"""The text of a block -> paragraphs and lists."""

import pytest

from layout.markdown.prose import kept_lines, prose

WIDE = (800.0, 60.0)  # pixels: three printed lines of some 80 letters


def text(raw: str, size: tuple[float, float] = WIDE) -> str:
    return prose(raw, size).text


@pytest.mark.parametrize(
    ("raw", "joined"),
    [
        ("a line end\nbecomes a blank", "a line end becomes a blank"),
        ("a hyphen-\nated word", "a hyphenated word"),
        ("a soft hyphen\u00ad\nated word", "a soft hyphenated word"),
        ("the Alsace-\nLorraine line", "the Alsace-Lorraine line"),
        ("a state-of-\nthe art", "a state-of-the art"),
        ("in 2019-\n2020 there", "in 2019-2020 there"),
        ("a well-\nknown fact", "a well-known fact"),
        ("Vor- und Nach- \nund Zwischentext", "Vor- und Nach- und Zwischentext"),
        ("a thought\u2014\nlike this", "a thought\u2014like this"),
        ("中文的第一行文字\n第二行", "中文的第一行文字第二行"),
        ("日本語の一行目は\nここで終わる", "日本語の一行目はここで終わる"),
        ("한국어 첫째 줄\n둘째 줄", "한국어 첫째 줄 둘째 줄"),
        ("ภาษาไทย\nบรรทัด", "ภาษาไทยบรรทัด"),
        ("שורה ראשונה\nשורה שנייה", "שורה ראשונה שורה שנייה"),
        ("使用大型语言模型\nPython 编程", "使用大型语言模型Python 编程"),
        ("so \\( a +\nb \\) is\nhere", "so $a + b$ is here"),
    ],
)
def test_printed_lines_become_running_text(raw: str, joined: str) -> None:
    assert text(raw) == joined


def test_an_empty_line_parts_paragraphs() -> None:
    assert text("One.\n\nTwo.") == "One.\n\nTwo."


def test_a_sentence_that_ends_short_of_the_margin_ends_a_paragraph() -> None:
    long = "This line is as long as the column of print is wide, so that it ends where"
    assert text(f"{long}\nit must.\n{long}\nit must.") == f"{long} it must.\n\n{long} it must."


def test_lines_that_all_end_early_are_kept() -> None:
    raw = "Roses are red\nViolets are so very blue and bluer\nSugar is sweet\nAnd you"
    assert text(raw) == raw.replace("\n", "  \n")


def test_line_ends_of_joined_text_part_paragraphs() -> None:
    """The model joins most printed lines itself; what is then left of line ends are those of paragraphs."""
    one = "A sentence that goes on for longer than any line of this block could be, " * 3 + "ends."
    assert text(f"{one}\n{one}", (400, 160)) == f"{one}\n\n{one}"


def test_bullets_become_items() -> None:
    assert text("• apples\n• pears and\nother fruit\n• nuts") == "- apples\n- pears and other fruit\n- nuts"


def test_numbers_become_numbered_items() -> None:
    assert text("1. one\n2. two") == "1. one\n2. two"


def test_full_width_marks_of_numbers_become_those_of_markdown() -> None:
    assert text("1、苹果\n2、梨") == "1. 苹果\n2. 梨"


def test_markers_that_markdown_lacks_are_kept_in_the_item() -> None:
    assert text("(a) one\n(b) two") == "- (a) one\n- (b) two"


def test_a_single_marker_that_markdown_lacks_makes_no_list() -> None:
    assert text("(a) one") == "(a) one"


@pytest.mark.parametrize("sign", ["*", "–", "—"])
def test_a_single_mark_of_a_footnote_or_of_speech_makes_no_list(sign: str) -> None:
    assert text(f"{sign} a note").removeprefix("\\") == f"{sign} a note"


def test_a_marker_in_the_text_of_an_item_stays_text() -> None:
    """Bug: it began a list within the item, which numbered the items after it anew."""
    assert text("• 1. word\n• - word") == "- 1\\. word\n- \\- word"


def test_items_are_nested_by_their_indent() -> None:
    assert text("• a\n  • b\n  • c\n• d") == "- a\n  - b\n  - c\n- d"


def test_items_are_nested_by_a_change_of_marker() -> None:
    assert text("1. a\n• b\n• c\n2. d") == "1. a\n   - b\n   - c\n2. d"


def test_text_before_a_list_stays_a_paragraph() -> None:
    assert text("We need:\n• a\n• b") == "We need:\n\n- a\n- b"


def test_a_number_at_the_start_of_a_line_by_chance_makes_no_item() -> None:
    assert text("he who was born on the\n12. day of that month") == "he who was born on the 12. day of that month"


def test_a_year_makes_no_item() -> None:
    assert text("1986. A year") == r"1986\. A year"


def test_a_number_that_markdown_would_count_otherwise_is_kept() -> None:
    """Markdown numbers the items of a list from its first one on."""
    assert text("1. one\n4. four.") == "1. one 4. four."
    assert text("1. one.\n4. four.") == "1. one.\n\n4\\. four."


@pytest.mark.parametrize(
    ("raw", "is_open"),
    [
        ("It ends.", False),
        ("It does (so.)", False),
        ("结束。", False),
        ("انتهى؟", False),
        ("It goes", True),
        ("as follows:", False),
    ],
)
def test_a_sentence_is_open_until_its_sign(raw: str, is_open: bool) -> None:
    assert prose(raw, WIDE).open is is_open


def test_a_table_of_contents_keeps_its_lines() -> None:
    assert kept_lines("1 Intro .... 3\n# 2 Foo") == "1 Intro .... 3  \n\\# 2 Foo"
