import pytest
from PIL import Image

from layout.ink import find_ink
from layout.paragraphs import Paragraph
from layout.segment.flow import flow
from models.detection import Box
from tests.printed import Sheet

SHORT = "The quick brown fox jumps over a dog."


def paragraphs(image: Image.Image) -> list[Paragraph]:
    return [part for column in flow(find_ink(image)) for part in column if isinstance(part, Paragraph)]


def found(image: Image.Image) -> list[list[int]]:
    """Tops of the lines of each paragraph, to the next hundredth of the page."""
    return [[round(line.box.top / 10) for line in part.lines] for part in paragraphs(image)]


def covers(box: Box, printed: Box) -> bool:
    return all(abs(here - there) <= 6 for here, there in zip(box, printed, strict=True))


def test_lines_at_one_distance_are_a_paragraph() -> None:
    sheet = Sheet()
    printed = sheet.paragraph(60, 100, lines=6)
    (part,) = paragraphs(sheet.image)
    assert len(part.lines) == 6
    assert covers(part.box, printed)


def test_a_wider_gap_begins_a_paragraph() -> None:
    sheet = Sheet()
    printed = [sheet.paragraph(60, 100), sheet.paragraph(60, 218), sheet.paragraph(60, 336)]
    parts = paragraphs(sheet.image)
    assert [covers(part.box, box) for part, box in zip(parts, printed, strict=True)] == [True] * 3


def test_an_indent_begins_a_paragraph() -> None:
    sheet = Sheet()
    printed = [sheet.paragraph(60, 100 + 104 * place, indent=25) for place in range(3)]
    parts = paragraphs(sheet.image)
    assert [covers(part.box, box) for part, box in zip(parts, printed, strict=True)] == [True] * 3


def test_an_item_stays_with_the_lines_under_its_text() -> None:
    sheet = Sheet()
    for top in (100, 180):
        sheet.line(60, top, "1.")
        sheet.paragraph(95, top, lines=2)
    assert [len(lines) for lines in found(sheet.image)] == [2, 2]


@pytest.mark.parametrize("size", [23, 40])
def test_a_heading_is_a_paragraph_of_its_own(size: int) -> None:
    sheet = Sheet()
    heading = sheet.line(60, 90, "The heading of all this", size=size)
    body = sheet.paragraph(60, 100 + size)
    parts = paragraphs(sheet.image)
    assert [covers(part.box, box) for part, box in zip(parts, (heading, body), strict=True)] == [True] * 2


@pytest.mark.parametrize(
    "words", ["1986 1987 1988", "were one sees no verse or cause", "CAPITALS OF ALL", "(he) (she) [it]"]
)
def test_a_line_of_unusual_letters_is_no_heading(words: str) -> None:
    sheet = Sheet()
    for place, text in enumerate([SHORT, SHORT, words, SHORT]):
        sheet.line(60, 100 + 26 * place, text)
    assert [len(lines) for lines in found(sheet.image)] == [4]


def test_two_columns_are_read_one_after_the_other() -> None:
    sheet = Sheet()
    title = sheet.line(150, 40, "A title across both of the columns", size=30)
    right = [sheet.paragraph(430, top, words=SHORT) for top in (100, 240)]
    left = [sheet.paragraph(60, top, words=SHORT) for top in (100, 218, 336)]
    parts = paragraphs(sheet.image)
    assert [covers(part.box, box) for part, box in zip(parts, [title, *left, *right], strict=True)] == [True] * 6


def test_small_print_has_a_distance_of_its_own() -> None:
    sheet = Sheet()
    sheet.paragraph(60, 100, lines=5)
    for place in range(6):
        sheet.line(60, 300 + 16 * place + 12 * (place // 2), SHORT, size=11)
    assert [len(lines) for lines in found(sheet.image)] == [5, 2, 2, 2]


def test_a_blank_page_has_no_paragraphs() -> None:
    assert paragraphs(Sheet().image) == []
