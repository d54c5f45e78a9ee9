"""Documents of the benchmark: no page is like another, so that no cache helps, and PDFs have the size they should."""

import base64

import pypdfium2

from benchmarks.documents import SIZE, as_pdf, crop_body, draw_page


def test_no_page_of_the_benchmark_is_like_another() -> None:
    pages = [draw_page(number, 12).tobytes() for number in (0, 1, 100, 101, 200)]
    assert len(set(pages)) == len(pages)


def test_a_pdf_has_its_pages_at_their_size() -> None:
    data = as_pdf([draw_page(number, 1) for number in range(3)])
    document = pypdfium2.PdfDocument(base64.b64decode(data.partition(",")[2]))
    assert len(document) == 3
    width, height = document[0].get_size()
    assert (round(width * 100 / 72), round(height * 100 / 72)) == SIZE


def test_a_crop_is_asked_for_as_paddlex_does() -> None:
    body = crop_body(draw_page(0, 1))
    assert body["messages"][0]["content"][1] == {"type": "text", "text": "OCR:"}
    assert body["mm_processor_kwargs"] == {"min_pixels": 112896, "max_pixels": 1003520}
