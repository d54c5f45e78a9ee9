import time

from layout.boxes import rules_of
from layout.crops import crop
from layout.options import LayoutOptions
from layout.page import blocks_of_page
from models.detection import Box, Detection
from tests.printed import Sheet

RULES = rules_of("pp_doclayout_v3")
INK = LayoutOptions(whole_glyphs=True, uncovered_ink=True)


def test_a_line_that_the_network_missed_is_read() -> None:
    sheet = Sheet()
    upper, line, lower = sheet.paragraph(60, 100), sheet.line(60, 240, "The missed line"), sheet.paragraph(60, 300)
    found = [Detection("text", 0.9, upper, 0), Detection("text", 0.9, lower, 1)]
    kept, blocks = blocks_of_page(sheet.image, found, RULES, INK)
    assert kept == found
    assert [block.parts[0].score for block in blocks] == [0.9, 0.0, 0.9]
    assert line.inside(blocks[1].parts[0].box)
    assert all(block.task for block in blocks)


def test_without_steps_on_ink_boxes_stay_as_the_network_gave_them() -> None:
    sheet = Sheet()
    upper = sheet.paragraph(60, 100)
    sheet.line(60, 240, "The missed line")
    found = [Detection("text", 0.9, upper, 0)]
    _, blocks = blocks_of_page(sheet.image, found, RULES, LayoutOptions())
    assert [block.parts for block in blocks] == [(found[0],)]


def test_a_table_shows_the_token_of_its_figure_after_it_has_grown() -> None:
    sheet = Sheet()
    sheet.pen.rectangle((50, 100, 450, 400), outline=0, width=2)
    sheet.pen.rectangle((100, 150, 200, 250), fill=(90, 120, 200))
    found = [Detection("table", 0.9, Box(60, 110, 440, 390), 0), Detection("image", 0.9, Box(100, 150, 201, 251), 1)]
    kept, (block,) = blocks_of_page(sheet.image, found, RULES, INK)
    assert kept == found
    assert block.parts[0].box == (50, 100, 451, 401)
    image = crop(sheet.image, block, max_aspect=200)
    assert image.getpixel((55, 55)) == (255, 255, 255)


def test_a_dense_page_takes_a_fraction_of_a_second() -> None:
    """An idle core takes about 60 ms; the bound leaves room for busy ones, and none for a step that is quadratic."""
    sheet = Sheet(1240, 1754)
    words = "The quick brown fox jumps over a lazy dog, and so on."
    boxes = [sheet.paragraph(left, top, lines=2, words=words) for left in (60, 680) for top in range(20, 1700, 56)]
    found = [Detection("text", 0.9, box, order) for order, box in enumerate(boxes)]
    begin = time.process_time()
    _, blocks = blocks_of_page(sheet.image, found, RULES, INK)
    assert time.process_time() - begin < 1
    assert sum(len(block.parts) for block in blocks) == 60
