import numpy as np
from PIL import Image

from layout.ink import find_ink
from layout.uncovered import with_uncovered
from models.detection import Box, Detection
from tests.printed import Sheet

SHORT = "The quick brown fox jumps over a dog."


def detections(*boxes: Box, label: str = "text") -> list[Detection]:
    return [Detection(label, 0.9, box, order) for order, box in enumerate(boxes)]


def completed(sheet: Sheet, found: list[Detection]) -> list[Detection]:
    return with_uncovered(found, find_ink(sheet.image), sheet.image.size)


def added(result: list[Detection]) -> list[int]:
    """Places of the blocks that no network found."""
    return [place for place, one in enumerate(result) if one.score == 0]


def test_a_page_that_is_covered_stays_as_it_is() -> None:
    sheet = Sheet()
    found = detections(sheet.paragraph(60, 100), sheet.paragraph(60, 300))
    assert completed(sheet, found) == found


def test_a_paragraph_that_no_box_covers_is_read_in_its_place() -> None:
    sheet = Sheet()
    boxes = [sheet.paragraph(60, top) for top in (100, 300, 500)]
    result = completed(sheet, detections(boxes[0], boxes[2]))
    assert added(result) == [1]
    assert result[1].label == "text"
    assert boxes[1].inside(result[1].box)
    assert [one.order for one in result] == [0, 1, 2]


def test_a_short_line_far_from_all_boxes_of_its_column_is_read_in_its_place() -> None:
    """Bug: far from all of them, it came before the last."""
    sheet = Sheet()
    boxes = [sheet.paragraph(60, top) for top in (60, 400, 700)]
    sheet.line(60, 270, "Two")
    assert added(completed(sheet, detections(*boxes))) == [1]


def test_a_single_character_is_read() -> None:
    sheet = Sheet()
    result = completed(sheet, [*detections(sheet.paragraph(60, 100)), *detections(sheet.line(400, 950, "7"))[1:]])
    assert added(result) == [1]


def test_the_first_lines_of_the_right_column_come_after_the_left_one() -> None:
    sheet = Sheet()
    title = sheet.line(150, 40, "A title across both of the columns", size=30)
    left = [sheet.paragraph(60, top, words=SHORT) for top in (100, 240)]
    sheet.paragraph(430, 100, words=SHORT)
    below = sheet.paragraph(430, 240, words=SHORT)
    assert added(completed(sheet, detections(title, *left, below))) == [3]


def test_the_last_lines_of_the_left_column_come_before_the_right_one() -> None:
    sheet = Sheet()
    left, right = sheet.paragraph(60, 100, words=SHORT), sheet.paragraph(430, 100, words=SHORT)
    sheet.paragraph(60, 240, words=SHORT)
    assert added(completed(sheet, detections(left, right))) == [1]


def test_what_an_outline_leaves_out_is_read() -> None:
    sheet = Sheet()
    upper, lower = sheet.paragraph(60, 100), sheet.paragraph(60, 300)
    whole = Box(60, 100, 760, 400)
    corners = (
        (whole.left, whole.top),
        (whole.right, whole.top),
        (whole.right, upper.bottom),
        (whole.left, upper.bottom),
    )
    result = completed(sheet, [Detection("text", 0.9, whole, 0, corners)])
    assert [lower.inside(one.box) for one in result] == [True, True]
    assert added(result) == [1]


def test_rules_frames_and_dirt_are_not_read() -> None:
    sheet = Sheet()
    text = sheet.paragraph(60, 100)
    sheet.pen.rectangle((20, 20, 780, 980), outline=0, width=2)
    sheet.pen.line((40, 500, 700, 500), fill=0, width=2)
    for x in range(100, 700, 70):
        sheet.pen.rectangle((x, 600, x + 3, 603), fill=0)
    assert added(completed(sheet, detections(text))) == []


def test_a_photo_that_no_box_covers_is_kept() -> None:
    sheet = Sheet()
    boxes = [sheet.paragraph(60, 100), sheet.paragraph(60, 700)]
    shades = np.random.default_rng(1).integers(0, 170, (12, 20), dtype=np.uint8)
    photo = Image.fromarray(shades).resize((400, 240), Image.Resampling.BICUBIC)
    sheet.image.paste(photo.convert("RGB"), (100, 400))
    result = completed(sheet, detections(*boxes))
    assert [one.label for one in result] == ["text", "image", "text"]


def test_a_table_that_no_box_covers_is_read_as_a_table() -> None:
    """Bug: its cells were read as lines of text."""
    sheet = Sheet()
    boxes = [sheet.paragraph(60, 100), sheet.paragraph(60, 500)]
    for y in range(302, 423, 30):
        sheet.pen.line((100, y, 490, y), fill=0)
        for x in (110, 240, 370) if y < 420 else ():
            sheet.line(x, y + 6, "A cell")
    for x in range(100, 491, 130):
        sheet.pen.line((x, 302, x, 422), fill=0)
    result = completed(sheet, detections(*boxes))
    assert [(one.label, one.score) for one in result] == [("text", 0.9), ("table", 0), ("text", 0.9)]


def test_a_page_without_detections_is_read_in_order() -> None:
    sheet = Sheet()
    sheet.line(150, 40, "A title across both of the columns", size=30)
    for left in (430, 60):
        sheet.line(left, 100, "1. A heading", size=23)
        for top in (140, 270):
            sheet.paragraph(left, top, words=SHORT)
    result = completed(sheet, [])
    assert [one.label for one in result] == ["doc_title", *["paragraph_title", "text", "text"] * 2]
    assert [one.box.left < 400 for one in result] == [True] * 4 + [False] * 3
    assert [one.order for one in result] == list(range(7))


def test_a_blank_page_has_no_blocks() -> None:
    assert completed(Sheet(), []) == []
