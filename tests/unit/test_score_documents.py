"""Scores of whole pages: what counts as misread, lost, out of order or in the wrong place."""

from typing import Any

import pytest

from training.score_documents import (
    PageAnswer,
    block_f1,
    heading_f1,
    joined,
    lost_words,
    order_tau,
    page_scores,
    plain,
    right_cells,
    score,
    tables,
    truth_text,
)

FIRST = "Ten grey herons waited\nbeside the shallow river."
SECOND = "Everyone has counted the\nbarges since Tuesday."


def block(label: str = "text", text: str = "", **more: Any) -> dict[str, Any]:
    return {"label": label, "text": text, "box": [0, 0, 100, 100], **more}


def truth(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"blocks": list(blocks)}


def heading(level: int, text: str) -> dict[str, Any]:
    return block("doc_title" if level == 1 else "paragraph_title", text, level=level)


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("## A title\n\nand text", "A title and text"),
        ("- one\n- two", "one two"),
        ("1. one\n2. two", "1. one 2. two"),
        ("costs \\$5 \\* 3", "costs $5 * 3"),
        ("| a | b |\n| --- | --- |\n| 1 | \\|2 |", "a b 1 |2"),
        ("<table><tr><td>a</td><td>b &amp; c</td></tr></table>", "a b & c"),
        ("before\n\n$$\nx = 1\n$$\n\nafter", "before after"),
        ("a page\n\n---\n\nanother", "a page another"),
        ("**bold** and 2 \\*\\* 3", "bold and 2 ** 3"),
        ("![Figure](page-1.png)\n\ntext", "text"),
    ],
)
def test_markdown_becomes_its_text(markdown: str, text: str) -> None:
    assert plain(markdown) == text


def test_a_word_hyphenated_at_a_line_end_is_one_word_and_a_date_keeps_its_hyphens() -> None:
    assert joined("the levell-\ning of 2027-\n11-17") == "the levelling of 2027-11-17"


def test_typographic_quotes_are_no_errors() -> None:
    assert joined("\u201cten\u201d herons\u2019") == '"ten" herons\''


def test_bullets_of_the_truth_do_not_count_as_text() -> None:
    assert truth_text(truth(block(text="- one\n- two"))) == "one two"


def test_an_answer_that_is_the_truth_has_no_errors() -> None:
    page = truth(heading(1, "A river"), block(text=FIRST), block(text=SECOND), block("image"))
    rates = score([PageAnswer("page", page, f"# A river\n\n{FIRST}\n\n{SECOND}", page["blocks"])])
    assert (rates["cer"], rates["words_lost"], rates["order_tau"], rates["block_f1"]) == (0, 0, 1, 1)


def test_errors_of_all_pages_are_divided_by_their_letters_together() -> None:
    pages = [
        PageAnswer("long", truth(block(text="a" * 90)), "a" * 90),
        PageAnswer("short", truth(block(text="b" * 10)), ""),
    ]
    assert score(pages)["cer"] == 0.1


def test_a_line_that_is_missing_is_lost_and_one_that_is_misread_is_not() -> None:
    page = truth(block(text=f"{FIRST}\n{SECOND}"))
    misread = "Tan gray herens waitad besida tha shellow rivar. Everyone has counted the"
    assert lost_words(page, misread) == (3, 15)


def test_everything_is_lost_in_an_empty_answer() -> None:
    assert lost_words(truth(block(text=FIRST)), "") == (8, 8)


def test_a_table_that_is_missing_is_lost_by_its_words() -> None:
    page = truth(block("table", cells=[["Month", "Rainfall"], ["January", "Considerable"]]))
    assert lost_words(page, joined(SECOND)) == (4, 4)


def test_headings_may_begin_at_another_level_but_not_change_places() -> None:
    page = truth(heading(1, "A long river"), heading(2, "Its northern bank"), heading(2, "Its southern bank"))
    shifted = "## A long river\n\n### Its northern bank\n\n### Its southern bank"
    assert heading_f1(page, shifted) == (6, 6)
    flat = "### A long river\n\n### Its northern bank\n\n## Its southern bank"
    right, _ = heading_f1(page, flat)
    assert right < 6


def test_a_heading_too_many_and_one_too_few_both_count() -> None:
    page = truth(heading(1, "A long river"), heading(2, "Its northern bank"))
    assert heading_f1(page, "# A long river\n\n## Something else entirely") == (2, 4)


def test_blocks_in_reverse_are_entirely_out_of_order() -> None:
    page = truth(block(text=FIRST), block(text=SECOND))
    assert order_tau(page, joined(f"{SECOND}\n{FIRST}")) == (-1, 1)


def test_a_text_that_is_there_twice_says_nothing_about_order() -> None:
    """Bug: the same name at two places of a letter counted as out of order."""
    page = truth(
        block(text="Dear Mr. Heron"), block(text=FIRST), block(text="Mr. Heron again"), block(text="Mr. Heron")
    )
    found = joined(f"Dear Mr. Heron {FIRST} Mr. Heron again Mr. Heron")
    right, pairs = order_tau(page, found)
    assert right == pairs


def test_cells_count_at_their_row_and_column() -> None:
    page = truth(block("table", cells=[["a", "b"], ["1", "2"]]))
    assert right_cells(page, "| a | b |\n| --- | --- |\n| 2 | 2 |") == (3, 4)
    assert right_cells(page, "no table") == (0, 4)


def test_tables_are_found_as_pipes_and_as_html() -> None:
    html = "<table border=1><tr><th>a</th></tr><tr><td>1</td></tr></table>"
    assert tables(f"| x |\n| --- |\n| y |\n\ntext\n\n{html}") == [[["a"], ["1"]], [["x"], ["y"]]]


def test_a_box_counts_with_its_label_from_an_iou_of_seven_tenths() -> None:
    page = truth(block(box=[0, 0, 100, 100]))
    assert block_f1(page, [block(box=[0, 0, 100, 70])]) == (2, 2)
    assert block_f1(page, [block(box=[0, 0, 100, 69])]) == (0, 2)
    assert block_f1(page, [block("table", box=[0, 0, 100, 100])]) == (0, 2)


def test_boxes_read_as_one_image_count_each() -> None:
    page = truth(block(box=[0, 0, 100, 50]), block(box=[0, 60, 100, 100]))
    stacked = block(box=[0, 0, 100, 100], parts=[[0, 0, 100, 50], [0, 60, 100, 100]])
    assert block_f1(page, [stacked]) == (4, 4)


def test_one_box_is_counted_once() -> None:
    page = truth(block(box=[0, 0, 100, 100]))
    assert block_f1(page, [block(box=[0, 0, 100, 100]), block(box=[0, 0, 100, 99])]) == (2, 3)


def test_tesseract_is_scored_on_the_same_text() -> None:
    page = truth(block(text=FIRST))
    rates = page_scores(PageAnswer("page", page, FIRST, tesseract=FIRST.replace("Ten", "Tan")))
    assert (rates["cer"][0], rates["tesseract_cer"][0]) == (0, 1)
