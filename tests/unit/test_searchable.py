"""Searchable PDFs, read back by another program than the one that made them."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pypdf
import pypdfium2
import pytest
from PIL import Image, ImageChops, ImageDraw

from exports.searchable.rows import on_paper, rows
from jobs.document import Document
from jobs.failures import Failure
from jobs.job import Job, JobOptions, Source
from jobs.searchable import searchable
from jobs.splitting import source_of
from jobs.store import Store

SCRIPTS = {
    "Latin": "Grüße aus Łódź — 12 %",
    "Greek": "Καλημέρα κόσμε",
    "Cyrillic": "Привет, мир",
    "Chinese": "漢字と仮名 你好",
    "Devanagari": "नमस्ते दुनिया",
    "Thai": "สวัสดีชาวโลก",
    "beyond the first plane": "𝒳 + 𠮷 = 😀",
}
FROM_RIGHT = {
    "שלום עולם": "םלוע םולש",
    "مرحبا 123 بك": "كب 123 ابحرم",
    "the word שלום עולם here": "the word םלוע םולש here",
    "שלום world 42": "world 42 םולש",
}
"""Texts, and how they stand on paper from left to right."""
WIDTH, HEIGHT = 1000, 1400


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def job(store: Store, source: bytes) -> Job:
    made = Job(id="job_1", owner="", client="", source=Source(), options=JobOptions(), created_at=0)
    store.put(source_of(made.id), source)
    return made


def block(text: str, box: tuple[int, int, int, int], page: int = 1, label: str = "text") -> dict[str, Any]:
    return {"page": page, "label": label, "box": list(box), "parts": None, "text": None, "content": text}


def document(*blocks: dict[str, Any], pages: tuple[int, ...] = (1,), angle: int = 0, **page: Any) -> Document:
    size = {"width": WIDTH, "height": HEIGHT, "angle": angle} | page
    return Document(
        mode="document", markdown="", pages=[{"page": number, **size} for number in pages], blocks=list(blocks)
    )


def scan(kind: str = "PNG", size: tuple[int, int] = (500, 700), **how: Any) -> bytes:
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).ellipse((50, 50, 200, 300), fill="maroon")
    data = io.BytesIO()
    image.save(data, kind, **how)
    return data.getvalue()


def blank_pdf(pages: int = 1, size: tuple[float, float] = (595, 842), rotation: int = 0) -> bytes:
    with pypdfium2.PdfDocument.new() as pdf:
        for number in range(pages):
            page = pdf.new_page(size[0], size[1] + number)
            page.set_rotation(rotation)
        data = io.BytesIO()
        pdf.save(data)
        return data.getvalue()


def texts(pdf: bytes) -> list[str]:
    """The text of each page, by another reader than PDFium."""
    return [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages]


def drawn(pdf: bytes, page: int = 0) -> Image.Image:
    with pypdfium2.PdfDocument(pdf) as opened:
        return opened[page].render().to_pil().convert("RGB")


def found(pdf: bytes, left: float, top: float, right: float, bottom: float) -> str:
    """The text in a part of the first page, unturned, in shares of it."""
    with pypdfium2.PdfDocument(pdf) as opened:
        page = opened[0]
        page.set_rotation(0)
        width, height = page.get_size()
        inside = page.get_textpage().get_text_bounded(
            left * width, height * (1 - bottom), right * width, height * (1 - top)
        )
        return str(inside).strip()


def pages_with(store: Store, written: Sequence[str]) -> bytes:
    """A PDF with a page for each text."""
    numbers = range(1, len(written) + 1)
    blocks = [block(text, (100, 100, 900, 160), page) for page, text in zip(numbers, written, strict=True)]
    return searchable(job(store, blank_pdf(len(written))), document(*blocks, pages=tuple(numbers)), store)


def test_text_of_any_script_can_be_copied_out(store: Store) -> None:
    made = pages_with(store, list(SCRIPTS.values()))
    assert dict(zip(SCRIPTS, texts(made), strict=True)) == SCRIPTS


def test_text_from_right_to_left_stands_as_on_paper_since_readers_turn_it(store: Store) -> None:
    assert {text: on_paper(text) for text in FROM_RIGHT} == FROM_RIGHT
    with pypdfium2.PdfDocument(pages_with(store, list(FROM_RIGHT))) as opened:
        for text, page in zip(FROM_RIGHT, opened, strict=True):
            words = page.get_textpage().get_text_bounded().split()
            assert sorted(words) == sorted(text.split())


def test_nothing_that_is_seen_changes(store: Store) -> None:
    pdf = blank_pdf()
    with pypdfium2.PdfDocument(pdf) as opened:
        image = pypdfium2.PdfImage.new(opened)
        image.load_jpeg(io.BytesIO(scan("JPEG")), inline=True)
        image.set_matrix(pypdfium2.PdfMatrix().scale(300, 400).translate(50, 60))
        opened[0].insert_obj(image)
        opened[0].gen_content()
        saved = io.BytesIO()
        opened.save(saved)
    made = searchable(job(store, saved.getvalue()), document(block("Text", (0, 0, 900, 900))), store)
    assert texts(made) == ["Text"]
    assert ImageChops.difference(drawn(saved.getvalue()), drawn(made)).getbbox() is None


def test_each_block_is_found_at_its_place_and_in_order(store: Store) -> None:
    blocks = block("Left column", (100, 100, 450, 150)), block("Right column", (550, 100, 900, 150))
    made = searchable(job(store, blank_pdf()), document(*blocks), store)
    assert found(made, 0, 0, 0.5, 0.2) == "Left column"
    assert found(made, 0.5, 0, 1, 0.2) == "Right column"
    assert found(made, 0, 0.2, 1, 1) == ""


def test_a_text_that_goes_on_in_the_next_column_is_in_both(store: Store) -> None:
    words = "one two three four five six seven eight nine ten eleven twelve".split()
    text = block(" ".join(words), (100, 100, 900, 500))
    text["parts"] = [[100, 400, 450, 500], [550, 100, 900, 200]]
    made = searchable(job(store, blank_pdf()), document(text), store)
    first, second = found(made, 0, 0.2, 0.5, 0.4).split(), found(made, 0.5, 0, 1, 0.2).split()
    assert first + second == words
    assert abs(len(first) - len(second)) <= 4


def test_a_line_alone_is_as_wide_as_its_box(store: Store) -> None:
    made = searchable(job(store, blank_pdf()), document(block("Illicit title", (100, 100, 900, 150))), store)
    with pypdfium2.PdfDocument(made) as opened:
        text = opened[0].get_textpage()
        assert text.count_rects() == 1
        left, _, right, _ = text.get_rect(0)
        assert (left, right) == (pytest.approx(59.5, abs=1), pytest.approx(535.5, abs=1))


def test_lines_that_run_down_begin_at_the_right(store: Store) -> None:
    made = searchable(
        job(store, blank_pdf()), document(block("春夏\n秋冬", (800, 100, 900, 500), label="vertical_text")), store
    )
    assert found(made, 0.86, 0.05, 0.92, 0.4) == "春夏"
    assert found(made, 0.78, 0.05, 0.84, 0.4) == "秋冬"


def test_a_paragraph_is_broken_into_rows_that_fill_its_box() -> None:
    made = rows("one two three four five six seven eight nine ten " * 4, 300, 100)
    assert 4 < len(made) < 12
    assert " ".join(row.text for row in made).split() == "one two three four five six seven eight nine ten".split() * 4
    assert [row.width for row in made[:-1]] == [1.0] * (len(made) - 1)


def test_a_line_without_spaces_is_broken_as_well() -> None:
    made = rows("漢" * 100, 200, 100)
    assert len(made) > 3
    assert "".join(row.text for row in made) == "漢" * 100


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_page_that_its_file_turns_has_its_text_where_it_is_shown(store: Store, rotation: int) -> None:
    pdf = blank_pdf(rotation=rotation)
    made = searchable(job(store, pdf), document(block("Corner", (0, 0, 200, 100))), store)
    corner = {0: (0, 0), 90: (0, 1), 180: (1, 1), 270: (1, 0)}[rotation]  # place on the unturned page
    left, top = (0.6 if corner[0] else 0), (0.6 if corner[1] else 0)
    assert found(made, left, top, left + 0.4, top + 0.4) == "Corner"


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_a_page_that_was_turned_upright_has_its_text_where_it_came(store: Store, angle: int) -> None:
    turned: dict[str, Any] = {"width": HEIGHT, "height": WIDTH} if angle != 180 else {}
    text = block("Corner", (0, 0, 200, 100))
    made = searchable(job(store, blank_pdf()), document(text, angle=angle, **turned), store)
    left, top = {90: (0.6, 0), 180: (0.6, 0.6), 270: (0, 0.6)}[angle]
    assert found(made, left, top, left + 0.4, top + 0.4) == "Corner"


def with_text(text: str, *, hidden: bool) -> bytes:
    with pypdfium2.PdfDocument(blank_pdf()) as pdf:
        page = pdf[0]
        font = pypdfium2.raw.FPDFText_LoadStandardFont(pdf, b"Helvetica")
        made = pypdfium2.raw.FPDFPageObj_CreateTextObj(pdf, font, 12.0)
        encoded = (text + "\0").encode("utf-16-le")
        units = (pypdfium2.raw.c_ushort * (len(text) + 1)).from_buffer_copy(encoded)
        pypdfium2.raw.FPDFText_SetText(made, units)
        if hidden:
            pypdfium2.raw.FPDFTextObj_SetTextRenderMode(made, pypdfium2.raw.FPDF_TEXTRENDERMODE_INVISIBLE)
        pypdfium2.raw.FPDFPageObj_Transform(made, 1, 0, 0, 1, 60, 780)
        pypdfium2.raw.FPDFPage_InsertObject(page, made)
        page.gen_content()
        data = io.BytesIO()
        pdf.save(data)
        return data.getvalue()


def test_text_that_a_page_shows_is_not_there_twice(store: Store) -> None:
    blocks = block("Printed", (90, 80, 500, 120)), block("Scanned", (90, 600, 500, 640))
    made = searchable(job(store, with_text("Printed", hidden=False)), document(*blocks), store)
    assert texts(made)[0].split() == ["Printed", "Scanned"]


def test_hidden_text_of_an_earlier_program_gives_way(store: Store) -> None:
    text = block("Printed", (90, 80, 500, 120))
    made = searchable(job(store, with_text("Pnnted", hidden=True)), document(text), store)
    assert texts(made) == ["Printed"]


def test_only_pages_that_were_read_are_in_it(store: Store) -> None:
    blocks = [block(f"Page {number}", (100, 100, 900, 160), number) for number in (2, 5)]
    made = searchable(job(store, blank_pdf(6)), document(*blocks, pages=(2, 5)), store)
    assert texts(made) == ["Page 2", "Page 5"]
    assert [page.mediabox.height for page in pypdf.PdfReader(io.BytesIO(made)).pages] == [843, 846]


def test_a_photo_that_was_taken_on_its_side_is_shown_upright(store: Store) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    made = searchable(job(store, scan("JPEG", exif=exif)), document(), store)
    assert drawn(made).size[0] > drawn(made).size[1]


def test_a_jpeg_stays_as_it_is_at_the_size_it_says(store: Store) -> None:
    jpeg = scan("JPEG", dpi=(250, 250))
    made = searchable(job(store, jpeg), document(), store)
    (page,) = pypdf.PdfReader(io.BytesIO(made)).pages
    assert (page.mediabox.width, page.mediabox.height) == (pytest.approx(144), pytest.approx(201.6))
    images = page.raw_get("/Resources").get_object()["/XObject"].get_object().values()
    assert [image.get_object()._data for image in images] == [jpeg]


def test_every_page_of_a_tiff_is_a_page(store: Store) -> None:
    pages = [Image.new("1", (300, 400 + number), 1) for number in range(3)]
    data = io.BytesIO()
    pages[0].save(data, "TIFF", save_all=True, append_images=pages[1:], compression="group4")
    blocks = [block(f"Page {number}", (100, 100, 900, 160), number) for number in (1, 2, 3)]
    made = searchable(job(store, data.getvalue()), document(*blocks, pages=(1, 2, 3)), store)
    assert texts(made) == ["Page 1", "Page 2", "Page 3"]


def test_tables_are_text_and_blocks_that_were_joined_keep_their_own(store: Store) -> None:
    markdown = "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |"
    parts = [
        block("<fcel>a<fcel>b<nl><fcel>1<fcel>2<nl>", (100, 100, 900, 300), 1, "table"),
        block("<fcel>3<fcel>4<nl>", (100, 100, 900, 200), 2, "table"),
    ]
    for part in parts:
        part["text"] = [0, len(markdown)]
    read = document(*parts, pages=(1, 2))
    made = searchable(job(store, blank_pdf(2)), Document(**vars(read) | {"markdown": markdown}), store)
    assert [page.split() for page in texts(made)] == [["a", "b", "1", "2"], ["3", "4"]]


def test_a_page_without_blocks_has_the_text_that_was_read_on_it(store: Store) -> None:
    made = searchable(job(store, scan()), document(width=None, height=None, content="# Title\n\nText"), store)
    assert texts(made)[0].split() == ["Title", "Text"]


@pytest.mark.parametrize("source", [b"%PDF-1.7 torn", scan()[:200]], ids=["pdf", "image"])
def test_a_document_that_cannot_be_opened_fails_with_the_reason(store: Store, source: bytes) -> None:
    with pytest.raises(Failure, match="a searchable PDF cannot be made") as failed:
        searchable(job(store, source), document(), store)
    assert (failed.value.kind, failed.value.code) == ("input", "pdf")


def test_a_document_that_hangs_its_decoder_fails_with_the_reason(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exports.searchable.make.SECONDS", -1)  # none are left
    with pytest.raises(Failure, match="crashed or hung"):
        searchable(job(store, scan()), document(), store)
