"""Blocks cut between their lines, for a model that reads few at once."""

import numpy as np
from PIL import Image, ImageDraw

from layout.parts import BORDER, parts_of_table, parts_of_text
from models.detection import hull
from tests.printed import WORDS, Sheet

DARK = 100  # grey level below which a pixel is ink


def paragraph(lines: int, *, paper: int = 255, ink: int = 20) -> Image.Image:
    """A paragraph as a box cuts it out, with the paper of a pixel around it."""
    sheet = Sheet(paper=paper, ink=ink)
    left, top, right, bottom = map(int, sheet.paragraph(40, 40, lines))
    return sheet.image.crop((left - 1, top - 1, right + 1, bottom + 1))


def table(rows: int, *, ruled: bool = False, wrapped: bool = False) -> Image.Image:
    """A table of three columns; `wrapped`: the cells of the first one take two lines."""
    sheet = Sheet()
    step = 52 if wrapped else 34
    for row in range(rows):
        for place, text in enumerate(("Walnuts", "1.25", "Friday")):
            sheet.line(40 + 160 * place, 40 + step * row, text)
        if wrapped:
            sheet.line(40, 62 + step * row, "in bags")
        if ruled:
            sheet.pen.line((30, 34 + step * row, 480, 34 + step * row), fill=sheet.ink)
    left, top, right, bottom = map(int, hull(sheet.boxes))
    return sheet.image.crop((left - 12, top - 12, right + 12, bottom + 12))


def ink_of(image: Image.Image) -> int:
    """Pixels of ink."""
    return int((np.asarray(image.convert("L")) < DARK).sum())


def is_whole(parts: list[Image.Image], image: Image.Image) -> bool:
    """Whether no ink was lost, or cut through by a horizontal edge."""
    edges = [part.crop((0, y, part.width, y + 1)) for part in parts for y in (0, part.height - 1)]
    return sum(map(ink_of, parts)) == ink_of(image) and not any(map(ink_of, edges))


def test_a_paragraph_is_cut_between_its_lines_into_parts_of_about_as_many() -> None:
    image = paragraph(7)
    parts = parts_of_text(image, 3)
    assert len(parts) == 3
    assert max(part.height for part in parts) < 1.6 * min(part.height for part in parts)
    assert is_whole(parts, image)


def test_few_lines_stay_together_and_get_paper_around_them() -> None:
    """The embedded checkpoint read headings that filled their image three times as badly."""
    image = paragraph(3)
    (part,) = parts_of_text(image, 3)
    assert part.size == (image.width + 2 * BORDER, image.height + 2 * BORDER)
    assert np.array_equal(
        np.asarray(part.crop((BORDER, BORDER, part.width - BORDER, part.height - BORDER))), np.asarray(image)
    )


def test_lines_that_fill_their_image_to_the_edge_count() -> None:
    image = paragraph(4)
    tight = image.crop((1, 1, image.width - 1, image.height - 1))
    assert len(parts_of_text(tight, 1)) == 4


def test_letters_of_lines_beyond_the_edge_are_no_line() -> None:
    image = paragraph(3)
    assert len(parts_of_text(image.crop((0, 0, image.width, image.height - 12)), 1)) == 2


def test_lines_that_run_askew_are_cut_along() -> None:
    sheet = Sheet()
    for line in range(6):
        sheet.line(60, 200 + 24 * line, WORDS)
    for degrees in (1.0, -1.0):
        turned = sheet.image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=(255, 255, 255))
        image = turned.crop((40, 180, 780, 350))
        parts = parts_of_text(image, 2)
        assert len(parts) == 3
        assert sum(map(ink_of, parts)) == ink_of(image)


def test_paper_around_light_print_is_dark() -> None:
    parts = parts_of_text(paragraph(4, paper=30, ink=230), 2)
    assert len(parts) == 2
    assert all(part.getpixel((0, 0)) == (30, 30, 30) for part in parts)


def test_a_blank_image_is_one_part() -> None:
    assert len(parts_of_text(Image.new("RGB", (200, 80), (255, 255, 255)), 2)) == 1
    assert len(parts_of_table(Image.new("RGB", (200, 80), (255, 255, 255)), 2)) == 1


def test_a_table_is_cut_between_its_rows() -> None:
    image = table(7)
    parts = parts_of_table(image, 3)
    assert len(parts) == 3
    assert is_whole(parts, image)


def test_a_table_with_rules_is_cut_along_them() -> None:
    assert len(parts_of_table(table(6, ruled=True), 2)) == 3


def test_lines_of_one_cell_stay_together() -> None:
    image = table(4, wrapped=True)
    parts = parts_of_table(image, 1)
    assert len(parts) == 4
    assert is_whole(parts, image)


def test_a_table_whose_only_rule_is_under_its_head_is_cut_between_all_rows() -> None:
    image = table(6)
    ImageDraw.Draw(image).line((0, 40, image.width, 40), fill=(20, 20, 20))
    assert len(parts_of_table(image, 1)) == 6
