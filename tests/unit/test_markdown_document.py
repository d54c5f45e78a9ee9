"""Pages with text -> the Markdown of a document: order, joints, and what is left out."""

import re
from dataclasses import replace

import pytest
from PIL import Image

from layout.markdown.document import document_markdown
from layout.markdown.options import PAGE_SEPARATOR, MarkdownOptions
from layout.pages import ReadBlock
from tests.pages import block, document, kinds, markdown, page

IMAGE = Image.new("RGB", (8, 8))
OPEN = "This sentence is long enough to go on in another block, and it"
TABLE = "<fcel>A<fcel>B<nl><fcel>1<fcel>2<nl>"
MORE = "<fcel>A<fcel>B<nl><fcel>3<fcel>4<nl>"
ROWS = "| A | B |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |"
RIGHT = (520.0, 0.0, 900.0, 40.0)
LEFT = (100.0, 0.0, 500.0, 400.0)


def test_titles_become_headings_on_one_line() -> None:
    assert markdown(block("doc_title", "A\nTitle"), block("paragraph_title", "1 Some\nthing")) == (
        "# A Title\n\n## 1 Some thing"
    )


def test_levels_of_headings_are_those_of_the_whole_document() -> None:
    """The first of two titles without numbers is the smaller one, which the page alone cannot tell."""
    small = block("paragraph_title", "Small", box=(100, 0, 300, 20))
    large = block("paragraph_title", "Large", box=(100, 0, 400, 40))
    assert document([small], [large]).text == f"### Small{PAGE_SEPARATOR}## Large"


@pytest.mark.parametrize("label", ["text", "abstract", "reference_content", "vertical_text", "a label to come"])
def test_blocks_of_text_are_paragraphs(label: str) -> None:
    assert markdown(block(label, "One."), block(label, "Two.")) == "One.\n\nTwo."


def test_items_in_blocks_of_their_own_are_one_list() -> None:
    text = markdown(block("text", "1. a"), block("text", "2. b"), block("text", "End."))
    assert text == "1. a\n2. b\n\nEnd."


def test_a_list_after_another_keeps_its_numbers() -> None:
    text = markdown(block("text", "1. a\n2. b."), block("text", "1. c."))
    assert text == "1. a\n2. b.\n\n1\\. c."


def test_pages_are_parted_by_a_thematic_break() -> None:
    assert document([block("text", "One.")], [block("text", "Two.")]).text == f"One.{PAGE_SEPARATOR}Two."


def test_a_page_without_text_leaves_no_trace() -> None:
    assert document([block("text", "One.")], [block("number", "2")], [block("text", " \n")]).text == "One."


def test_a_sentence_goes_on_over_a_page() -> None:
    assert document([block("text", OPEN)], [block("text", "goes on.")]).text == f"{OPEN} goes on."


def test_a_hyphenated_word_goes_on_over_a_page() -> None:
    assert document([block("text", "a hyphen-")], [block("text", "ated word.")]).text == "a hyphenated word."


@pytest.mark.parametrize("hyphen", ["-", "\u00ad"])
def test_a_hyphenated_word_goes_on_from_a_text_that_was_given_out(hyphen: str) -> None:
    """Bug: the hyphen of a text long enough to be streamed stayed in the word."""
    first, second = block("text", f"{OPEN} has a hyphen{hyphen}"), block("text", "ated word.")
    assert document([first], [second]).text == f"{OPEN} has a hyphenated word."


def test_a_hyphen_that_nothing_continues_is_kept() -> None:
    assert document([block("text", "a hyphen-")], [block("paragraph_title", "B")]).text.startswith("a hyphen-\n")


def test_a_sentence_goes_on_in_the_next_column() -> None:
    first, second = block("text", OPEN, box=LEFT), block("text", "(which is new) goes on.", box=RIGHT)
    assert markdown(first, second) == f"{OPEN} (which is new) goes on."


def test_a_chinese_sentence_goes_on_over_a_page() -> None:
    first = "这是一个很长的句子它在这一页上没有结束而是在下一页继续因为"
    assert document([block("text", first)], [block("text", "没有地方了。")]).text == f"{first}没有地方了。"


def test_a_sentence_goes_on_before_the_figures_and_notes_in_between() -> None:
    between = [block("image", image=IMAGE), block("figure_title", "Figure 1"), block("footnote", "1 A note.")]
    text = document([block("text", OPEN), *between, block("number", "1")], [block("text", "goes on.")]).text
    assert text == f"{OPEN} goes on.\n\n![figure](page-1-figure-1.png)\n\nFigure 1\n\n1 A note."


@pytest.mark.parametrize(
    "following",
    [
        block("text", "Another begins."),
        block("text", "• an item"),
        block("text", "12. an item"),
        block("paragraph_title", "title"),
        block("reference_content", "other text"),
    ],
    ids=lambda one: one.text,
)
def test_what_does_not_continue_a_sentence_begins_anew(following: ReadBlock) -> None:
    text = document([block("text", OPEN)], [following]).text
    assert text.startswith(OPEN + PAGE_SEPARATOR)


def test_an_item_goes_on_over_a_page() -> None:
    text = document([block("text", f"• {OPEN}")], [block("text", "goes on.\n• Another.")]).text
    assert text == f"- {OPEN} goes on.\n- Another."


def test_markup_by_chance_over_two_blocks_is_escaped() -> None:
    text = document([block("text", f"*{OPEN}")], [block("text", "goes* on.")]).text
    assert text == f"*{OPEN} goes\\* on."


@pytest.mark.parametrize("header", ["<fcel>A<fcel>B<nl>", ""])
def test_a_table_goes_on_over_a_page(header: str) -> None:
    first = [block("text", "See."), block("table", TABLE), block("footnote", "Note."), block("number", "1")]
    second = [block("header", "Head"), block("table", f"{header}<fcel>3<fcel>4<nl>"), block("text", "End.")]
    assert document(first, second).text == f"See.\n\n{ROWS}\n\nNote.\n\nEnd."


def test_a_table_goes_on_over_two_pages() -> None:
    more = "<fcel>5<fcel>6<nl>"
    assert (
        document([block("table", TABLE)], [block("table", MORE)], [block("table", more)]).text == f"{ROWS}\n| 5 | 6 |"
    )


def test_a_caption_that_says_so_continues_a_table() -> None:
    text = document([block("table", TABLE)], [block("figure_title", "Table 1 (continued)"), block("table", MORE)]).text
    assert text == f"{ROWS}\n\nTable 1 (continued)"


@pytest.mark.parametrize(
    "pages",
    [
        [[block("table", TABLE), block("text", "End.")], [block("table", MORE)]],
        [[block("table", TABLE)], [block("text", "Then."), block("table", MORE)]],
        [[block("table", TABLE)], [block("figure_title", "Table 2"), block("table", MORE)]],
        [[block("table", TABLE)], [block("table", MORE, box=(100, 0, 400, 40))]],
        [[block("table", TABLE, error="cut")], [block("table", MORE)]],
        [[block("table", TABLE)], [block("table", MORE, error="cut")]],
        [[block("table", TABLE)], [], [block("table", MORE)]],
    ],
    ids=[
        "text after",
        "text before",
        "another caption",
        "another width",
        "an error",
        "another error",
        "a page between",
    ],
)
def test_tables_that_do_not_go_on_stay_two(pages: list[list[ReadBlock]]) -> None:
    assert kinds(document(*pages).text).count("table") == 2


def test_a_formula_takes_the_number_beside_it() -> None:
    formula = block("display_formula", r"\[ a = b \]", box=(300, 0, 600, 60))
    number = block("formula_number", "(3.1)", box=(850, 20, 900, 40))
    assert markdown(formula, number) == markdown(number, formula) == r"$$a = b \tag{3.1}$$"


def test_a_number_on_another_line_stays_text() -> None:
    formula = block("display_formula", r"\[ a = b \]", box=(300, 0, 600, 60))
    assert markdown(formula, block("formula_number", "(3.1)", box=(850, 80, 900, 99))) == "$$a = b$$\n\n(3.1)"


@pytest.mark.parametrize("tagged", [r"\[ a \tag{1} \]", r"\[ a \]"])
def test_what_is_no_number_or_one_too_many_stays_text(tagged: str) -> None:
    formula = block("display_formula", tagged, box=(300, 0, 600, 60))
    number = "(1)" if "tag" in tagged else r"\frac{1}{2}"
    assert "\n\n" in markdown(formula, block("formula_number", number, box=(850, 20, 900, 40)))


def test_figures_are_linked_by_a_name_that_no_other_page_has() -> None:
    pages = [[block("image", image=IMAGE), block("image", image=IMAGE)], [block("seal", image=IMAGE)]]
    found = document(*pages)
    assert re.findall(r"\((.*?)\)", found.text) == list(found.images)
    assert list(found.images) == ["page-1-figure-1.png", "page-1-figure-2.png", "page-2-seal-1.png"]


def test_figures_can_be_inline() -> None:
    found = document([block("image", image=IMAGE)], options=MarkdownOptions(images="inline"))
    assert found.text.startswith("![figure](data:image/png;base64,")
    assert not found.images


def test_figures_can_be_left_out() -> None:
    blocks = [block("image", image=IMAGE), block("figure_title", "Figure 1")]
    assert markdown(*blocks, options=MarkdownOptions(images="none")) == "Figure 1"


def test_text_in_a_figure_is_its_alternative_text() -> None:
    assert markdown(block("image", "Stop\n[now]", image=IMAGE)) == r"![Stop \[now\]](page-1-figure-1.png)"


def test_figures_in_tables_joined_over_a_page_stay_apart() -> None:
    """Bug: tables of two pages name their figures by the same tokens."""
    one = block("table", "<fcel>[F2]<nl>", figures={"[F2]": IMAGE})
    other = block("table", "<fcel>b [F2]<nl>", figures={"[F2]": IMAGE})
    found = document([one], [other])
    assert list(found.images) == ["page-1-figure-1.png", "page-2-figure-1.png"]
    assert found.text.count("page-1-figure-1.png") == found.text.count("page-2-figure-1.png") == 1


def test_the_pages_given_are_left_as_they_are() -> None:
    blocks = [block("table", "<fcel>[F2]<nl>", figures={"[F2]": IMAGE})]
    assert document(blocks).text == document(blocks).text


def test_charts_that_are_read_become_tables() -> None:
    assert kinds(markdown(block("chart", "Year | Sum\n1 | 2", read=True))) == ["table"]


def test_algorithms_become_code() -> None:
    assert markdown(block("algorithm", "for i:\n  # x\n")) == "```\nfor i:\n  # x\n```"


def test_a_table_of_contents_keeps_its_lines() -> None:
    assert markdown(block("content", "1 A ... 1\n2 B ... 2")) == "1 A ... 1  \n2 B ... 2"


RUNNING = [block("header", "Head"), block("text", "Text."), block("footer", "Foot"), block("number", "7")]


def test_headers_footers_and_page_numbers_are_left_out() -> None:
    assert markdown(*RUNNING) == "Text."


def test_headers_footers_and_page_numbers_can_be_kept() -> None:
    assert markdown(*RUNNING, options=MarkdownOptions(running=True)) == "Head\n\nText.\n\nFoot\n\n7"


def test_a_block_that_could_not_be_read_leaves_a_mark() -> None:
    text = markdown(block("text", "It was", error="cut"), block("table", "", error="lost"), block("text", "goes on."))
    assert text == "It was [unreadable: text]\n\n[unreadable: table]\n\ngoes on."


def test_half_a_formula_is_not_shown() -> None:
    assert markdown(block("display_formula", r"\[ \frac{a", error="cut")) == "[unreadable: display formula]"


def test_each_block_has_its_place_in_the_text() -> None:
    blocks = [block("doc_title", "T"), block("header", "H"), block("text", "a hyphen-"), block("table", TABLE)]
    found = document(blocks, [block("table", MORE), block("text", "End.")])
    places = {(span.page, span.block): found.text[span.start : span.end] for span in found.spans}
    assert places == {(0, 0): "# T", (0, 2): "a hyphen-", (0, 3): ROWS, (1, 0): ROWS, (1, 1): "End."}


def test_halves_of_a_sentence_have_places_of_their_own() -> None:
    found = document([block("text", OPEN)], [block("text", "goes on.")])
    assert [found.text[span.start : span.end] for span in found.spans] == [OPEN, "goes on."]


def test_a_document_without_blocks_is_empty() -> None:
    assert document([], []).text == ""


def test_right_to_left_text_keeps_its_order() -> None:
    assert markdown(block("text", "مرحبا بالعالم\nسطر ثان.")) == "مرحبا بالعالم سطر ثان."


def test_sizes_of_titles_are_compared_over_pages_of_two_resolutions() -> None:
    large = block("paragraph_title", "Large", box=(100, 0, 300, 40))
    small = block("paragraph_title", "Small", box=(0, 50, 90, 70))
    twice = block("paragraph_title", "Also small", box=(0, 50, 320, 90))
    pages = [page(large, small), replace(page(twice, index=1), size=(2000, 2800))]
    assert document_markdown(pages).text == f"## Large\n\n### Small{PAGE_SEPARATOR}### Also small"
