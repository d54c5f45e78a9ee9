"""The truth of the exam's pages is found in real PDFs, here by pdfium's own standard fonts."""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import pypdfium2
import pypdfium2.raw as pdfium
import pytest

from training.exam_pages import ExamPage, load_pages, save_pages
from training.exam_sources import FORMULA, HEADER, NUMBER, TABLE, TEXT, Look, Page, Part
from training.exam_truth import Sheet, TruthError, find_parts, read_sheet

LOOK = Look(
    "article", (400.0, 500.0), 1, "Helvetica", "Helvetica", 10, 1.2, False, False, False, 40, "left", False, 144
)
Line = tuple[float, float, str]  # left and baseline in points, from the page's lower left corner


def sheet(*lines: Line, rules: Sequence[tuple[float, float, float, float]] = ()) -> Sheet:
    """A sheet of 400 x 500 points at two pixels a point; rules are left, bottom, width and height of black boxes."""
    pdf = pypdfium2.PdfDocument.new()
    page = pdf.new_page(*LOOK.paper)
    font = pdfium.FPDFText_LoadStandardFont(pdf, b"Helvetica")
    for left, bottom, text in lines:
        thing = pdfium.FPDFPageObj_CreateTextObj(pdf, font, 10)
        encoded = ctypes.create_string_buffer((text + "\0").encode("utf-16-le"))
        pdfium.FPDFText_SetText(thing, ctypes.cast(encoded, pdfium.FPDF_WIDESTRING))
        pdfium.FPDFPageObj_Transform(thing, 1, 0, 0, 1, left, bottom)
        pdfium.FPDFPage_InsertObject(page, thing)
    for rule in rules:
        box = pdfium.FPDFPageObj_CreateNewRect(*rule)
        pdfium.FPDFPath_SetDrawMode(box, pdfium.FPDF_FILLMODE_ALTERNATE, False)
        pdfium.FPDFPage_InsertObject(page, box)
    pdfium.FPDFPage_GenerateContent(page)
    return read_sheet(pdf, 0, LOOK.dpi)


def page(*body: Part, header: Part | None = None, number: Part | None = None) -> Page:
    return Page(LOOK, header, body, None, None, number)


def test_a_paragraph_has_its_lines_as_printed_and_the_box_of_its_letters() -> None:
    found = find_parts(
        page(Part(TEXT, "Ten grey herons waited")), sheet((50, 400, "Ten grey"), (50, 388, "herons waited"))
    )
    assert [one.text for one in found] == ["Ten grey\nherons waited"]
    left, top, right, bottom = found[0].box
    assert 98 <= left <= 102
    assert 180 <= top <= 188
    assert 200 <= right <= 240
    assert 224 <= bottom <= 232


def test_a_hyphen_that_the_renderer_put_in_is_part_of_the_text() -> None:
    found = find_parts(page(Part(TEXT, "ten herons")), sheet((50, 400, "ten her-"), (50, 388, "ons")))
    assert found[0].text == "ten her-\nons"


def test_a_paragraph_in_two_columns_is_two_blocks() -> None:
    lines = [(50, 120, "Ten grey"), (50, 108, "herons"), (220, 420, "waited"), (220, 408, "here")]
    found = find_parts(page(Part(TEXT, "Ten grey herons waited here")), sheet(*lines))
    assert [one.text for one in found] == ["Ten grey\nherons", "waited\nhere"]


def test_what_did_not_fit_is_left_out_and_a_beginning_is_kept() -> None:
    body = (Part(TEXT, "Ten grey herons"), Part(TEXT, "Everyone has counted them"), Part(TEXT, "Off the page"))
    found = find_parts(page(*body), sheet((50, 400, "Ten grey herons"), (50, 380, "Everyone has")))
    assert [one.text for one in found] == ["Ten grey herons", "Everyone has"]


def test_a_page_number_is_not_taken_from_a_text_with_the_same_digits() -> None:
    """Bug: a page number 17 was found in a price, which left the number at the foot without a block."""
    lines = [(50, 60, "costs 1.17 today"), (200, 20, "17")]
    found = find_parts(page(Part(TEXT, "costs 1.17 today"), number=Part(NUMBER, "17")), sheet(*lines))
    assert [(one.part.label, one.text) for one in found] == [("text", "costs 1.17 today"), ("number", "17")]


def test_reading_order_begins_with_the_header() -> None:
    lines = [(50, 400, "Ten grey herons"), (50, 480, "A river")]
    found = find_parts(page(Part(TEXT, "Ten grey herons"), header=Part(HEADER, "A river")), sheet(*lines))
    assert [one.part.label for one in found] == ["header", "text"]


def test_a_tables_box_takes_in_the_rules_around_its_cells() -> None:
    table = Part(TABLE, cells=(("a", "b"), ("1", "2")))
    lines = [(60, 400, "a"), (110, 400, "b"), (60, 384, "1"), (110, 384, "2")]
    found = find_parts(page(table), sheet(*lines, rules=[(54, 412, 90, 1), (54, 378, 90, 1)]))
    left, top, right, bottom = found[0].box
    assert 106 <= left <= 108
    assert 288 <= right <= 290
    assert top <= 2 * (500 - 413)
    assert bottom >= 2 * (500 - 378)


def test_a_formula_is_what_stands_between_its_neighbours() -> None:
    body = (Part(TEXT, "Ten grey herons"), Part(FORMULA), Part(TEXT, "Everyone counted"))
    lines = [(50, 400, "Ten grey herons"), (150, 380, "E=mc"), (50, 360, "Everyone counted")]
    found = find_parts(page(*body), sheet(*lines))
    assert [one.part.label for one in found] == ["text", "display_formula", "text"]
    assert found[1].box[0] >= 298


def test_text_that_the_source_does_not_have_is_an_error() -> None:
    with pytest.raises(TruthError, match="Surprise"):
        find_parts(page(Part(TEXT, "Ten grey herons")), sheet((50, 400, "Ten grey herons"), (50, 300, "Surprise")))


def test_a_header_that_was_not_printed_is_an_error() -> None:
    with pytest.raises(TruthError, match="A river"):
        find_parts(page(Part(TEXT, "Ten"), header=Part(HEADER, "A river")), sheet((50, 400, "Ten")))


def test_pages_come_back_from_their_folder(tmp_path: Path) -> None:
    drawn = sheet((50, 400, "Ten"))
    save_pages([ExamPage("page-001", drawn.image, {"blocks": []})], tmp_path)
    (loaded,) = load_pages(tmp_path)
    assert (loaded.name, loaded.truth, loaded.image.tobytes()) == ("page-001", {"blocks": []}, drawn.image.tobytes())


def test_a_folder_without_pages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no"):
        load_pages(tmp_path)
