import numpy as np
import pytest
from PIL import Image

from layout.ink import Ink, find_ink
from models.detection import Box, hull
from tests.printed import Sheet


def extent(ink: Ink, top: int = 0) -> Box:
    """The box around all text, or all below `top`."""
    return ink.with_specks(hull([Box(*glyph) for glyph in ink.glyphs.tolist() if glyph[1] >= top]))


def is_near(one: Box, other: Box, pixels: int = 3) -> bool:
    return all(abs(here - there) <= pixels for here, there in zip(one, other, strict=True))


def test_printed_text_is_found_where_it_is() -> None:
    sheet = Sheet()
    text = sheet.paragraph(60, 100)
    assert is_near(extent(find_ink(sheet.image)), text)


def test_a_blank_page_has_no_ink() -> None:
    ink = find_ink(Sheet().image)
    assert [len(rows) for rows in (ink.glyphs, ink.specks, ink.strokes, ink.figures)] == [0, 0, 0, 0]


@pytest.mark.parametrize(("paper", "ink"), [(255, 120), (200, 20), (30, 230), (0, 255)])
def test_text_is_found_on_any_paper(paper: int, ink: int) -> None:
    sheet = Sheet(paper=paper, ink=ink)
    text = sheet.paragraph(60, 100)
    assert is_near(extent(find_ink(sheet.image)), text)


def test_text_is_found_in_a_shadow() -> None:
    sheet = Sheet()
    text = sheet.paragraph(60, 100, lines=20)
    shade = np.linspace(1, 0.7, 800)[None, :, None]
    ink = find_ink(Image.fromarray((np.asarray(sheet.image) * shade).astype(np.uint8)))
    assert is_near(extent(ink), text)
    assert not len(ink.figures)


@pytest.mark.parametrize(("panel", "text"), [(20, 250), (120, 250), (120, 0), (150, 10)])
def test_text_on_a_panel_is_found(panel: int, text: int) -> None:
    sheet = Sheet()
    sheet.paragraph(60, 100)
    sheet.pen.rectangle((60, 400, 700, 450), fill=(panel,) * 3)
    sheet.ink = (text,) * 3
    printed = sheet.line(80, 415, "Head of a table")
    ink = find_ink(sheet.image)
    assert is_near(extent(ink, top=390), printed)
    assert not len(ink.figures)


def test_rules_frames_and_grids_are_no_glyphs() -> None:
    sheet = Sheet()
    text = sheet.paragraph(60, 100)
    sheet.pen.line((40, 300, 760, 300), fill=0, width=2)
    sheet.pen.line((400, 320, 400, 900), fill=0, width=3)
    sheet.pen.rectangle((50, 350, 380, 390), outline=0, width=2)
    for y in range(500, 900, 40):
        sheet.pen.rectangle((50, y, 380, y + 40), outline=0)
    ink = find_ink(sheet.image)
    assert is_near(extent(ink), text)
    assert len(ink.strokes) == 4


def test_text_on_a_dark_row_of_a_grid_is_found() -> None:
    """Bug: the row and the rules around it are one spot of ink, most of whose box is white."""
    sheet = Sheet()
    for y in range(100, 300, 40):
        for x in range(50, 650, 150):
            sheet.pen.rectangle((x, y, x + 150, y + 40), outline=60, fill=60 if y == 100 else None)
    sheet.ink = (250, 250, 250)
    head = [sheet.line(x, 110, "Head") for x in range(70, 650, 150)]
    sheet.ink = (20, 20, 20)
    cells = [sheet.line(70, y, "Cell") for y in range(150, 300, 40)]
    assert is_near(extent(find_ink(sheet.image)), hull([*head, *cells]))


def test_a_photo_with_light_parts_is_a_figure() -> None:
    sheet = Sheet()
    text = sheet.paragraph(60, 100)
    shades = np.random.default_rng(2).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    sheet.image.paste(Image.fromarray(shades).resize((420, 300), Image.Resampling.BICUBIC), (100, 400))
    ink = find_ink(sheet.image)
    assert is_near(extent(ink), text)
    assert len(ink.figures) == 1


def test_the_edges_of_a_scan_are_left_out() -> None:
    sheet = Sheet()
    text = sheet.paragraph(60, 100)
    sheet.pen.rectangle((0, 0, 12, 1000), fill=0)
    sheet.pen.polygon([(800, 700), (800, 1000), (500, 1000)], fill=(40, 40, 40))
    ink = find_ink(sheet.image)
    assert is_near(extent(ink), text)
    assert not len(ink.figures)


def test_specks_are_told_from_glyphs() -> None:
    sheet = Sheet()
    sheet.paragraph(60, 100)
    before = find_ink(sheet.image)
    for x in range(100, 700, 40):
        sheet.pen.rectangle((x, 600, x + 2, 602), fill=0)
    after = find_ink(sheet.image)
    assert len(after.specks) == len(before.specks) + 15
    assert len(after.glyphs) == len(before.glyphs)


def test_a_photo_is_a_figure() -> None:
    sheet = Sheet()
    text = sheet.paragraph(60, 100)
    shades = np.random.default_rng(1).integers(0, 170, (12, 20), dtype=np.uint8)
    photo = Image.fromarray(shades).resize((400, 240), Image.Resampling.BICUBIC)
    sheet.image.paste(photo.convert("RGB"), (100, 400))
    ink = find_ink(sheet.image)
    assert is_near(extent(ink), text)
    assert [is_near(Box(*figure), Box(100, 400, 500, 640)) for figure in ink.figures.tolist()] == [True]


def test_a_large_page_is_in_its_own_pixels() -> None:
    sheet = Sheet(2400, 3000)
    text = sheet.line(300, 900, "Large print", size=90)
    assert is_near(extent(find_ink(sheet.image)), text, pixels=4)


def test_dots_beside_a_box_are_taken_in() -> None:
    sheet = Sheet()
    text = sheet.line(100, 100, "The end.", size=24)
    ink = find_ink(sheet.image)
    glyphs = hull([Box(*glyph) for glyph in ink.glyphs.tolist()])
    assert glyphs.right < text.right - 3
    assert is_near(ink.with_specks(glyphs), text)
