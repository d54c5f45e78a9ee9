from dataclasses import replace

import pytest

from layout.fit import fitted
from layout.ink import find_ink
from models.detection import Box, Detection
from tests.printed import Sheet

TOLERANCE = 4  # pixels


def fit(sheet: Sheet, *found: Detection) -> list[Box]:
    return [one.box for one in fitted(found, find_ink(sheet.image), sheet.image.size)]


def detection(label: str, box: Box, *moved: int) -> Detection:
    sides = [side + by for side, by in zip(box, moved or (0, 0, 0, 0), strict=True)]
    return Detection(label, 0.9, Box(*sides), 0)


def holds(outer: Box, inner: Box) -> bool:
    return (
        0 <= inner.left - outer.left <= TOLERANCE
        and 0 <= inner.top - outer.top <= TOLERANCE
        and 0 <= outer.right - inner.right <= TOLERANCE
        and 0 <= outer.bottom - inner.bottom <= TOLERANCE
    )


@pytest.mark.parametrize("moved", [(4, 5, -4, -5), (-6, -7, 6, 7), (5, -5, 5, -5)])
def test_a_box_of_text_is_fitted_to_its_ink(moved: tuple[int, int, int, int]) -> None:
    sheet = Sheet()
    text = sheet.paragraph(60, 100)
    (box,) = fit(sheet, detection("text", text, *moved))
    assert holds(box, text)


def test_slivers_of_the_next_line_are_left_out() -> None:
    sheet = Sheet()
    upper, lower = sheet.line(60, 100, "One line of good things"), sheet.line(60, 126, "Two lines of good things")
    boxes = fit(sheet, detection("text", upper, 0, 0, 0, 12), detection("text", lower))
    assert holds(boxes[0], upper)
    assert holds(boxes[1], lower)


def test_a_line_that_a_box_ends_in_is_taken_in_whole() -> None:
    sheet = Sheet()
    text = sheet.paragraph(60, 100)
    (box,) = fit(sheet, detection("text", text, 0, 0, -200, 0))
    assert holds(box, text)


def test_a_line_is_not_followed_into_another_box() -> None:
    sheet = Sheet()
    text = sheet.line(60, 100, "One line of good things that goes on")
    left, right = detection("text", text, 0, 0, -150, 0), detection("text", text, 200, 0, 0, 0)
    boxes = fit(sheet, left, right)
    assert boxes[0].shared(boxes[1]) <= left.box.shared(right.box)


def test_what_is_too_faint_to_be_ink_is_not_cut_off() -> None:
    sheet = Sheet()
    text = sheet.paragraph(60, 100)
    (box,) = fit(sheet, detection("text", text, -60, -60, 60, 60))
    assert min(text.left - box.left, text.top - box.top, box.right - text.right, box.bottom - text.bottom) > 40


def test_a_number_that_its_box_only_touches_is_taken_in() -> None:
    sheet = Sheet()
    number = sheet.line(400, 950, "7")
    (box,) = fit(sheet, detection("number", number, 6, 8, 6, 8))
    assert holds(box, replaced(number, box))


def replaced(number: Box, box: Box) -> Box:
    """The number's box, with the sides where its detection lies farther out."""
    return Box(
        number.left, number.top, max(number.right, box.right - TOLERANCE), max(number.bottom, box.bottom - TOLERANCE)
    )


def test_images_and_slanted_outlines_stay_as_they_are() -> None:
    sheet = Sheet()
    text = sheet.paragraph(60, 100)
    image = detection("image", text, 4, 4, -4, -4)
    slanted = replace(detection("text", text, 4, 4, -4, -4), polygon=((60, 100), (700, 110), (700, 190), (60, 180)))
    assert fitted([image], find_ink(sheet.image), sheet.image.size) == [image]
    assert fitted([slanted], find_ink(sheet.image), sheet.image.size) == [slanted]


def test_an_outline_that_is_the_box_moves_with_it() -> None:
    sheet = Sheet()
    found = detection("text", sheet.paragraph(60, 100), 4, 4, -4, -4)
    left, top, right, bottom = found.box
    found = replace(found, polygon=((left, top), (right, top), (right, bottom), (left, bottom)))
    (one,) = fitted([found], find_ink(sheet.image), sheet.image.size)
    left, top, right, bottom = one.box
    assert one.box != found.box
    assert one.polygon == ((left, top), (right, top), (right, bottom), (left, bottom))


def test_a_table_grows_to_its_rules_and_never_shrinks() -> None:
    sheet = Sheet()
    for y in range(100, 300, 40):
        sheet.pen.rectangle((50, y, 400, y + 40), outline=0, width=2)
    (box,) = fit(sheet, Detection("table", 0.9, Box(60, 20, 390, 290), 0))
    assert box == (50, 20, 401, 301)


def test_a_formula_keeps_its_bars() -> None:
    sheet = Sheet()
    sheet.line(130, 100, "a + b")
    sheet.pen.line((100, 130, 220, 130), fill=0, width=2)
    sheet.line(140, 140, "c + d")
    (box,) = fit(sheet, Detection("display_formula", 0.9, Box(104, 95, 210, 165), 0))
    assert box.left <= 100
    assert box.right >= 221


def test_a_box_without_ink_stays_as_it_is() -> None:
    sheet = Sheet()
    sheet.paragraph(60, 100)
    assert fit(sheet, detection("text", Box(60, 600, 200, 640))) == [(60, 600, 200, 640)]
