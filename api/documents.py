"""The pages of a PDF as pictures, drawn by PDFium."""

import math
import threading
from functools import partial

import pypdfium2
from PIL import Image

from api.errors import ApiError, invalid
from modes.choose import Picture

PAGE_PIXELS = 2_000_000  # twice what the model looks at; A4 at 144 dpi
MOST_SCALE = 4.0  # pixels a point (288 dpi), for small pages
PDFIUM = threading.Lock()  # it takes one thread at a time


def is_pdf(data: bytes) -> bool:
    return b"%PDF-" in data[:1024]  # readers allow junk before the header


def pdf_pages(data: bytes, param: str, most: int) -> list[Picture]:
    """The pages, each drawn when it is opened. Raises ApiError (400)."""
    with PDFIUM, _opened(data, param) as document:
        count = len(document)
    if not 0 < count <= most:
        raise invalid(f"the PDF has {count} pages; 1 to {most} can be read in one request", param)
    return [Picture(partial(_draw, data, number, param), page=True) for number in range(count)]


def _opened(data: bytes, param: str) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        raise _damaged(error, param) from error


def _draw(data: bytes, number: int, param: str) -> Image.Image:
    with PDFIUM, _opened(data, param) as document:
        try:
            document.init_forms()  # what is filled into fields is drawn as well
            page = document[number]
            width, height = page.get_size()  # points
            scale = min(MOST_SCALE, math.sqrt(PAGE_PIXELS / max(1.0, width * height)))
            return page.render(scale=scale).to_pil().convert("RGB")
        except (pypdfium2.PdfiumError, ValueError, MemoryError) as error:
            raise _damaged(error, param, number) from error


def _damaged(error: Exception, param: str, number: int | None = None) -> ApiError:
    place = "" if number is None else f" at page {number + 1}"
    return invalid(f"the PDF cannot be read{place}: {str(error).rstrip('.')}", param)
