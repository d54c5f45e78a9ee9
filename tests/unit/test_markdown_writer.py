"""Markdown as it is streamed: what was given out stays, and is what the whole document would be."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from layout.markdown.document import document_markdown
from layout.markdown.options import MarkdownOptions
from layout.markdown.writer import MarkdownWriter
from layout.pages import ReadBlock, ReadPage
from tests.pages import block, page, shown, streamed

PAGE = "Title\n\nSum \\(a_1\\) of\n<fcel>Tea<fcel>1<nl><fcel>Milk<fcel>2<nl>\n\nEnd "

PIECES = (
    *(
        "word ",
        "Word ",
        "is not. ",
        "hyphen-",
        "\n",
        "\n",
        "\n\n",
        "• ",
        "1. ",
        "2. ",
        "- ",
        "* ",
        "(a) ",
        "#",
        " ",
        "\t",
    ),
    *("*a*", "_b_", "`c`", "<d>", "$5", "\\( x \\)", "\\[ y", "\\]", "\\", "|", "&amp;", "[e](f)", "1986. ", "— "),
    *(
        "中文",
        "。",
        "\u00ad",
        "a longer run of plain words ",
        "一行比较长的中文文字没有标点",
        "A run of words, ",
        " ",
        "\t",
    ),
)
ROWS = ("<fcel>A", "<ecel>", "<lcel>", "<ucel>", "<nl>", "<nl>", "*b*", "\n")
LABELS = (
    *("text", "text", "text", "paragraph_title", "table", "footnote", "display_formula", "formula_number", "number"),
    *("reference_content", "image", "figure_title", "algorithm", "content", "chart", "abstract"),
)


@st.composite
def blocks(draw: st.DrawFn) -> ReadBlock:
    label = draw(st.sampled_from(LABELS))
    pieces = ROWS if label == "table" else PIECES
    text = "".join(draw(st.lists(st.sampled_from(pieces), max_size=12)))
    box = (300, 0, 600, 40) if label == "display_formula" else (620, 0, 640, 30) if label == "formula_number" else None
    image = Image.new("RGB", (4, 4)) if label in ("image", "chart") else None
    return block(label, text, box=box, image=image, error=draw(st.sampled_from([None, None, None, "cut"])))


@st.composite
def pages(draw: st.DrawFn) -> list[ReadPage]:
    drawn = draw(st.lists(st.lists(blocks(), max_size=5), max_size=3))
    return [page(*found, index=index) for index, found in enumerate(drawn)]


OPTIONS = st.builds(MarkdownOptions, running=st.booleans(), images=st.sampled_from(["link", "none"]))


@settings(max_examples=150, deadline=None)
@given(pages=pages(), cuts=st.lists(st.integers(1, 9), min_size=1, max_size=6), options=OPTIONS)
def test_pieces_joined_do_not_depend_on_how_texts_were_cut(
    pages: list[ReadPage], cuts: list[int], options: MarkdownOptions
) -> None:
    assert "".join(streamed(pages, cuts, options)) == "".join(streamed(pages, [1000], options))


@settings(max_examples=60, deadline=None)
@given(pages=pages(), cuts=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_a_stream_is_the_whole_document_but_for_levels_of_headings(pages: list[ReadPage], cuts: list[int]) -> None:
    stream, whole = "".join(streamed(pages, cuts)), document_markdown(pages).text
    assert [line.lstrip("#") for line in stream.split("\n")] == [line.lstrip("#") for line in whole.split("\n")]


@settings(max_examples=60, deadline=None)
@given(pages=pages())
def test_places_of_blocks_lie_in_the_text(pages: list[ReadPage]) -> None:
    found = document_markdown(pages)
    assert all(0 <= span.start < span.end <= len(found.text) for span in found.spans)
    assert len({(span.page, span.block) for span in found.spans}) == len(found.spans)
    starts = [span.start for span in found.spans]
    assert starts == sorted(starts)


@settings(max_examples=60, deadline=None)
@given(pages=pages())
def test_the_text_begins_and_ends_without_blank_lines(pages: list[ReadPage]) -> None:
    text = document_markdown(pages).text
    assert text == text.strip("\n")


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.lists(st.sampled_from(PIECES), max_size=12), max_size=4))
def test_no_letter_and_no_number_is_lost(texts: list[list[str]]) -> None:
    """But for those of formulas, whose delimiters change."""
    raw = ["".join(piece for piece in pieces if "\\" not in piece) for pieces in texts]
    text = document_markdown([page(*(block("text", one) for one in raw))]).text
    assert sorted(filter(str.isalnum, shown(text))) == sorted(filter(str.isalnum, "".join(raw)))


def given_by(*pieces: str, label: str = "text") -> list[str]:
    """What a writer gives out for each piece of one block, for its end, and for that of the document."""
    one = page(block(label, "".join(pieces)))
    writer = MarkdownWriter()
    writer.begin(one, one.blocks[0])
    return [*map(writer.push, pieces), writer.end(), writer.finish()]


def test_text_is_given_out_while_it_is_read() -> None:
    given = given_by("The first words of a block ", "and then the", " next.")
    assert given == ["The first words of a block", " and then the", " next.", "", ""]


def test_text_waits_from_the_first_sign_that_may_be_markup() -> None:
    assert given_by("The first words of a block *and", " then*.") == [
        "The first words of a block",
        "",
        " \\*and then*.",
        "",
    ]


def test_formulas_are_given_out_while_text_is_read() -> None:
    given = given_by("The first words of \\( x_1 ", "\\) and", " then.")
    assert given == ["The first words of", " $x_1$ and", " then.", "", ""]


def test_the_start_of_a_text_waits_until_it_is_known_what_it_is() -> None:
    assert given_by("12. The", " first words of a block.")[:2] == ["", ""]


@pytest.mark.parametrize("label", ["table", "paragraph_title", "display_formula", "algorithm"])
def test_blocks_that_are_no_text_come_at_their_end(label: str) -> None:
    *pieces, end, _ = given_by("The first words of a block ", "and more.", label=label)
    assert not any(pieces)
    assert end or label == "table"


def test_a_table_at_the_end_of_a_page_waits_for_the_next_page() -> None:
    first, second = page(block("table", "<fcel>A<nl>")), page(block("text", "End."), index=1)
    writer = MarkdownWriter()
    before = writer.begin(first, first.blocks[0]) + writer.push("<fcel>A<nl>") + writer.end()
    after = writer.begin(second, second.blocks[0]) + writer.push("End.") + writer.end()
    assert (before, after[:5]) == ("", "| A |")


def test_a_number_waits_for_the_formula_beside_it_and_no_longer() -> None:
    one = page(
        block("formula_number", "(1)", box=(0, 0, 20, 30)),
        block("display_formula", "x", box=(50, 0, 90, 30)),
        block("text", "End."),
    )
    writer = MarkdownWriter()
    text = writer.begin(one, one.blocks[0]) + writer.push("(1)") + writer.end()
    assert text == ""
    assert writer.begin(one, one.blocks[2]) == "(1)"


def test_headings_of_a_stream_go_by_the_titles_so_far() -> None:
    titles = [
        block("paragraph_title", "Small", box=(0, 0, 90, 20)),
        block("paragraph_title", "Large", box=(0, 30, 99, 80)),
    ]
    assert "".join(streamed([page(*titles)], [4])) == "## Small\n\n## Large"


def test_a_block_that_its_page_does_not_list_is_refused() -> None:
    with pytest.raises(ValueError, match="not in list"):
        MarkdownWriter().begin(page(), block("text"))


def test_an_error_known_at_the_end_marks_what_was_given_out() -> None:
    one = page(block("text", "The first words of a block that"))
    writer = MarkdownWriter()
    given = writer.begin(one, one.blocks[0]) + writer.push(one.blocks[0].text)
    one.blocks[0].error = "cut"
    assert given + writer.end() + writer.finish() == "The first words of a block that [unreadable: text]"


def test_a_page_that_is_one_block_keeps_its_tables_and_formulas() -> None:
    """Bug: the cells of tables were written as words."""
    text = document_markdown([page(block("ocr", PAGE))]).text
    assert "| Tea | 1 |\n| --- | --- |\n| Milk | 2 |" in text
    assert text.startswith("Title\n\nSum $a_1$ of")
    assert text.endswith("End")


@pytest.mark.parametrize("cut", [1, 3, 7])
def test_a_page_that_is_one_block_is_streamed_as_it_is_read(cut: int) -> None:
    pages = [page(block("ocr", PAGE))]
    pieces = streamed(pages, [cut])
    assert "".join(pieces) == document_markdown(pages).text
    assert "".join(pieces[: len(pieces) // 2]).startswith("Title")
