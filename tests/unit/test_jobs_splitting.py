"""Documents are split into pages that look as they did, in a process that may crash."""

import asyncio
import io
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from images.decoding import open_page
from images.pdf import draw_page
from jobs import splitting
from jobs.failures import Failure
from jobs.job import JobOptions
from jobs.splitters import Splitters
from jobs.splitting import Pages, source_of, split
from jobs.store import Store
from tests.jobs import job
from tests.ocr_service import pdf


def split_of(folder: Path, data: bytes, max_pages: int = 100, **options: str) -> tuple[Pages, list[bytes]]:
    """The pages of a document, and the file of each."""
    store = Store(str(folder))
    one = job(options=JobOptions.model_validate(options))
    store.put(source_of(one.id), data)

    async def run() -> Pages:
        splitters = Splitters(1, 2**20)
        try:
            return await split(store, splitters, one, max_pages)
        finally:
            splitters.close()

    pages = asyncio.run(run())
    return pages, [store.get(pages.file(one.id, number)) for number in pages.numbers]


def refusal(folder: Path, data: bytes, max_pages: int = 100, **options: str) -> tuple[str, str, str]:
    with pytest.raises(Failure) as refused:
        split_of(folder, data, max_pages, **options)
    return refused.value.kind, refused.value.code, str(refused.value)


def form() -> bytes:
    """A PDF with a line of text and a filled-in field of a form that has no appearance of its own."""
    objects = [
        "<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[4 0 R]/DA(/F 12 Tf 0 g)/DR<</Font<</F 6 0 R>>>>>>>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Annots[4 0 R]/Contents 5 0 R/Resources<</Font<</F 6 0 R>>>>>>",
        "<</Type/Annot/Subtype/Widget/FT/Tx/T(n)/V(Ada)/Rect[20 100 200 130]/DA(/F 14 Tf 0 g)/F 4/P 3 0 R>>",
        "<</Length 36>>stream\nBT /F 18 Tf 20 150 Td (Name) Tj ET   \nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body, places = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer<</Size {len(objects) + 1}/Root 1 0 R>>\n"
    return body + f"{end}startxref\n{len(body)}\n%%EOF".encode()


def test_each_page_of_a_pdf_is_a_pdf_of_its_own(tmp_path: Path) -> None:
    document = pdf(3)
    pages, files = split_of(tmp_path, document)
    assert (pages.kind, pages.numbers, pages.size) == ("pdf", [1, 2, 3], len(document))
    for number, file in enumerate(files):
        assert draw_page(file, 0).size == draw_page(document, number).size


def test_a_forms_fields_look_on_their_page_as_they_did(tmp_path: Path) -> None:
    document = form()
    _, (file,) = split_of(tmp_path, document)
    drawn = draw_page(document, 0)
    assert ImageChops.difference(draw_page(file, 0), drawn).getbbox() is None
    field = drawn.crop((80, 300, 400, 380))
    assert min(field.convert("L").tobytes()) < 100  # the name is there


def test_pages_can_be_chosen(tmp_path: Path) -> None:
    pages, files = split_of(tmp_path, pdf(9), pages="7,2-3")
    assert pages.numbers == [2, 3, 7]
    assert len(files) == 3
    assert refusal(tmp_path, pdf(3), pages="2-5")[2] == "the PDF has 3 pages; there is no page 4"


def test_a_tiffs_pages_are_images(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 30), color) for color in ("red", "blue")]
    data = io.BytesIO()
    frames[0].save(data, "TIFF", save_all=True, append_images=frames[1:])
    pages, files = split_of(tmp_path, data.getvalue())
    assert (pages.kind, pages.numbers) == ("tiff", [1, 2])
    for number, file in enumerate(files):
        assert Image.open(io.BytesIO(file)).tobytes() == open_page(data.getvalue(), number, 10**6).tobytes()


def test_an_image_is_its_own_page(tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.new("RGB", (40, 30)).save(data, "PNG")
    pages, files = split_of(tmp_path, data.getvalue())
    assert (pages.kind, files) == ("image", [data.getvalue()])


@pytest.mark.parametrize(
    ("data", "max_pages", "said"),
    [
        (b"a text", 100, "not a document in a supported format"),
        (b"%PDF-1.7 and nothing else", 100, "the PDF cannot be read"),
        (pdf(5), 4, "the PDF has 5 pages to read; 1 to 4 can be read in one job"),
    ],
)
def test_what_cannot_be_split_is_the_documents_failure(tmp_path: Path, data: bytes, max_pages: int, said: str) -> None:
    kind, code, message = refusal(tmp_path, data, max_pages)
    assert (kind, code) == ("input", "invalid_document")
    assert said in message


def test_a_document_that_ends_its_splitter_twice_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashing = tmp_path / "crashing"
    crashing.mkdir()
    (crashing / "pypdfium2.py").write_text("import os; os.abort()")
    monkeypatch.syspath_prepend(str(crashing))  # splitters find modules where this process does
    kind, code, message = refusal(tmp_path, pdf(2))
    assert (kind, code) == ("input", "decoder_ended")
    assert "crashed or hung" in message


def test_a_splitter_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "SECONDS", 0.001)
    monkeypatch.setattr(splitting, "SECONDS_PER_MEBIBYTE", 0.0)
    assert refusal(tmp_path, pdf(2))[1] == "decoder_ended"
