import numpy as np
from PIL import Image

from layout.ink import find_ink
from layout.segment.page import segmented
from models.detection import SEGMENTATION_LABELS, Box, Detection, hull
from tests.imports import ROOT
from tests.printed import WORDS, Sheet

SHORT = "The quick brown fox jumps over a dog."
ROWS = [("Name", "Sort", "Sum"), ("Apple", "red", "12.50"), ("Pear", "green", "9.10"), ("Plum", "blue", "3.25")]


def found(sheet: Sheet) -> list[Detection]:
    return segmented(find_ink(sheet.image), sheet.image.size)


def labels(sheet: Sheet) -> list[str]:
    return [one.label for one in found(sheet)]


def box_of(sheet: Sheet, label: str) -> Box:
    (box,) = [one.box for one in found(sheet) if one.label == label]
    return box


def is_tight(box: Box, printed: Box) -> bool:
    return all(abs(here - there) <= 4 for here, there in zip(box, printed, strict=True))


def cells(sheet: Sheet, left: int, top: int) -> Box:
    """Rows of words that stand under one another, 30 pixels apart."""
    return hull(
        [sheet.line(left + 130 * x, top + 30 * y, text) for y, row in enumerate(ROWS) for x, text in enumerate(row)]
    )


def photo(sheet: Sheet, left: int, top: int) -> Box:
    shades = np.random.default_rng(1).integers(0, 170, (12, 20), dtype=np.uint8)
    image = Image.fromarray(shades).resize((400, 240), Image.Resampling.BICUBIC)
    sheet.image.paste(image.convert("RGB"), (left, top))
    return Box(left, top, left + 400, top + 240)


def bold(sheet: Sheet, left: int, top: int, text: str) -> Box:
    return hull([sheet.line(left + shift, top, text) for shift in (0, 1)])


def test_a_grid_of_words_is_one_table() -> None:
    sheet = Sheet()
    sheet.paragraph(60, 100)
    cells(sheet, 110, 310)
    for y in range(302, 423, 30):
        sheet.pen.line((100, y, 490, y), fill=0)
    for x in range(100, 491, 130):
        sheet.pen.line((x, 302, x, 422), fill=0)
    sheet.paragraph(60, 500)
    assert labels(sheet) == ["text", "table", "text"]
    assert is_tight(box_of(sheet, "table"), Box(100, 302, 491, 423))


def test_words_in_columns_between_rules_are_one_table() -> None:
    sheet = Sheet()
    sheet.paragraph(60, 100)
    cells(sheet, 110, 310)
    for y in (302, 335, 430):
        sheet.pen.line((100, y, 490, y), fill=0, width=2)
    sheet.paragraph(60, 500)
    assert labels(sheet) == ["text", "table", "text"]


def test_words_in_columns_without_rules_are_one_table() -> None:
    sheet = Sheet()
    sheet.paragraph(60, 100)
    printed = cells(sheet, 110, 310)
    sheet.paragraph(60, 500)
    assert labels(sheet) == ["text", "table", "text"]
    assert is_tight(box_of(sheet, "table"), printed)


def ruled_under_its_head(sheet: Sheet, *above: tuple[int, int, str]) -> None:
    """Text, a table with a rule over each row but its head, and the lines of the head."""
    sheet.paragraph(60, 60)
    sheet.paragraph(60, 500)
    for left, top, text in above:
        sheet.line(left, top, text)
    cells(sheet, 110, 310)
    for y in range(306, 427, 30):
        sheet.pen.line((100, y, 490, y), fill=0)


def test_a_head_of_two_lines_over_the_first_rule_belongs_to_its_table() -> None:
    """Bug: only its second line did, or none, and all rows were in the wrong place."""
    sheet = Sheet()
    ruled_under_its_head(sheet, (110, 258, "Ostentatio"), (240, 258, "Force"), (370, 258, "Sum"), (110, 278, "us"))
    assert labels(sheet) == ["text", "table", "text"]
    assert box_of(sheet, "table").top <= 262


def test_a_caption_over_the_head_does_not() -> None:
    sheet = Sheet()
    heads = ((110, 278, "Name"), (240, 278, "Sort"), (370, 278, "Sum"))
    ruled_under_its_head(sheet, (180, 248, "Table 2: Fruit"), *heads)
    assert box_of(sheet, "table").top >= 272


def test_rows_with_the_left_side_of_the_text_below_are_a_table() -> None:
    """Bug: they were taken for justified text with wide blanks, though they end anywhere."""
    sheet = Sheet()
    for y, row in enumerate((*ROWS, ("Fig", "as they come", "2.00 and more"))):
        for x, text in enumerate(row):
            sheet.line(80 + 160 * x, 310 + 30 * y, text)
    sheet.paragraph(60, 470, indent=20)
    assert labels(sheet)[0] == "table"


def test_columns_of_text_are_no_table() -> None:
    sheet = Sheet()
    for left in (60, 430):
        sheet.paragraph(left, 200, words=SHORT, lines=10)
    assert labels(sheet) == ["text", "text"]


def test_a_frame_around_text_is_no_table() -> None:
    sheet = Sheet()
    sheet.paragraph(60, 100)
    sheet.paragraph(60, 300)
    sheet.pen.rectangle((40, 285, 770, 420), outline=0)
    assert labels(sheet) == ["text", "text"]


def test_a_photo_with_the_small_line_under_it_is_an_image_with_its_caption() -> None:
    sheet = Sheet()
    sheet.paragraph(60, 100)
    printed = photo(sheet, 200, 300)
    caption = sheet.line(310, 552, "Figure 1: A field of no colour", size=14)
    sheet.paragraph(60, 640)
    assert labels(sheet) == ["text", "image", "figure_title", "text"]
    assert is_tight(box_of(sheet, "image"), printed)
    assert is_tight(box_of(sheet, "figure_title"), caption)


def test_a_chart_takes_in_the_words_in_its_frame() -> None:
    sheet = Sheet()
    sheet.paragraph(60, 100)
    sheet.pen.rectangle((200, 300, 600, 560), outline=0, width=2)
    sheet.pen.line((220, 540, 350, 380, 450, 460, 580, 320), fill=0, width=3)
    for place, name in enumerate(("low", "mid", "high")):
        sheet.line(210, 520 - 90 * place, name, size=12)
    sheet.paragraph(60, 640)
    assert labels(sheet) == ["text", "image", "text"]


def test_the_large_line_that_a_page_begins_with_is_its_title() -> None:
    sheet = Sheet()
    sheet.line(150, 40, "A title of all the page", size=34)
    sheet.paragraph(60, 130)
    sheet.line(60, 290, "A heading of a part", size=25)
    sheet.paragraph(60, 340)
    assert labels(sheet) == ["doc_title", "text", "paragraph_title", "text"]


def test_a_large_line_after_text_is_a_heading() -> None:
    sheet = Sheet()
    sheet.paragraph(60, 130)
    sheet.line(60, 290, "A heading of a part", size=30)
    sheet.paragraph(60, 350)
    assert labels(sheet) == ["text", "paragraph_title", "text"]


def test_a_bold_line_of_the_size_of_text_is_a_heading() -> None:
    sheet = Sheet()
    sheet.paragraph(60, 130)
    bold(sheet, 60, 270, "1.2 What is bold")
    sheet.paragraph(60, 310)
    assert labels(sheet) == ["text", "paragraph_title", "text"]


def test_lines_apart_from_the_body_are_header_footer_and_number() -> None:
    sheet = Sheet()
    sheet.line(60, 30, "A running title")
    sheet.paragraph(60, 120, lines=10)
    sheet.line(60, 950, "A publisher of note")
    sheet.line(720, 950, "17")
    assert labels(sheet) == ["header", "text", "footer", "number"]


def test_the_first_line_of_text_at_the_head_of_a_page_is_no_header() -> None:
    sheet = Sheet()
    sheet.paragraph(60, 30, lines=10)
    assert labels(sheet) == ["text"]


def test_small_print_under_a_short_rule_is_a_footnote() -> None:
    sheet = Sheet()
    sheet.paragraph(60, 100, lines=12)
    sheet.pen.line((60, 850, 200, 850), fill=0)
    note = sheet.line(60, 858, "1 " + WORDS, size=13)
    assert labels(sheet) == ["text", "footnote"]
    assert is_tight(box_of(sheet, "footnote"), note)


def test_a_centred_line_with_a_sign_of_equality_is_a_formula() -> None:
    sheet = Sheet()
    sheet.paragraph(60, 100)
    sheet.line(350, 240, "a = b + c")
    sheet.paragraph(60, 300)
    assert labels(sheet) == ["text", "display_formula", "text"]


def test_items_with_lines_under_their_text_are_one_block() -> None:
    sheet = Sheet()
    for place in range(3):
        sheet.line(60, 100 + 52 * place, f"{place + 1}.")
        sheet.paragraph(90, 100 + 52 * place, lines=2)
    assert labels(sheet) == ["text"]


def test_wide_blanks_in_narrow_columns_part_no_lines() -> None:
    """Bug: lines with wide blanks were read as columns of their own."""
    sheet = Sheet()
    for left in (60, 430):
        for place in range(12):
            words = ["The quick", "brown fox"] if place in (3, 4) else [SHORT]
            sheet.line(left, 100 + 26 * place, words[0])
            for word in words[1:]:
                sheet.line(left + 222, 100 + 26 * place, word)
    assert labels(sheet) == ["text", "text"]


def test_scores_are_shares_and_places_go_on() -> None:
    sheet = Sheet()
    sheet.line(150, 40, "A title of all the page", size=34)
    photo(sheet, 200, 200)
    sheet.paragraph(60, 600)
    result = found(sheet)
    assert all(0 < one.score <= 1 for one in result)
    assert [one.order for one in result] == list(range(len(result)))


def test_a_blank_page_has_no_blocks() -> None:
    assert found(Sheet()) == []


def test_the_sample_page_is_read_by_columns_under_its_title() -> None:
    """Bug: white beside a short title was taken for the gutter of the two columns below it."""
    page = Image.open(ROOT / "tests" / "data" / "test_page.png").convert("RGB")
    blocks = segmented(find_ink(page), page.size)
    left = ["paragraph_title", "text", "text", "paragraph_title", "text"]
    right = ["text", "table", "text", "text", "paragraph_title", "text"]
    assert [block.label for block in blocks] == ["doc_title", *left, *right, "number"]
    assert {block.label for block in blocks} <= set(SEGMENTATION_LABELS)
    assert all(block.box.right < page.width / 2 for block in blocks[1 : 1 + len(left)])


def test_lines_that_begin_with_a_short_word_are_no_list_across_headings() -> None:
    """Bug: a last line, a numbered heading and a first line whose first words are as wide were one list."""
    page = Image.open(ROOT / "tests" / "data" / "test_page.png").convert("RGB")
    texts = [block.box for block in segmented(find_ink(page), page.size) if block.label == "text"]
    assert min(box.height for box in texts[:3]) > 60
