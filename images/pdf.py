"""The pages of a PDF, drawn by PDFium. As light as decoding.py, which calls it."""

import math
import threading

import pypdfium2
from PIL import Image

from images.errors import InvalidImage

PAGE_PIXELS = 2_000_000  # twice the model's maximum; A4 at 144 dpi
LONGEST_SIDE = 20_000  # pixels: a page may be a line of any length
MAX_SCALE = 4.0  # pixels per point (288 dpi), for small pages
PDFIUM = threading.Lock()  # PDFium is not thread-safe


def is_pdf(data: bytes) -> bool:
    return b"%PDF-" in data[:1024]  # readers allow junk before the header


def count_pages(data: bytes, max_pages: int, password: str | None = None) -> int:
    """The number of pages, from 1 to `max_pages`. Raises InvalidImage."""
    with PDFIUM, _opened(data, password) as document:
        count = len(document)
    if not 0 < count <= max_pages:
        raise InvalidImage(f"the PDF has {count} pages; 1 to {max_pages} can be read in one request")
    return count


def draw_page(data: bytes, number: int, password: str | None = None) -> Image.Image:
    """A page, from 0, as RGB of about PAGE_PIXELS. Raises InvalidImage."""
    with PDFIUM, _opened(data, password) as document:
        try:
            document.init_forms()  # draws the contents of form fields, too
            page = document[number]
            width, height = page.get_size()  # points
            scale = min(
                MAX_SCALE,
                math.sqrt(PAGE_PIXELS / max(1.0, width * height)),
                LONGEST_SIDE / max(1.0, width, height),
            )
            return page.render(scale=scale).to_pil().convert("RGB")
        except MemoryError:
            raise InvalidImage(f"page {number + 1} of the PDF takes more memory to draw than is allowed") from None
        except (pypdfium2.PdfiumError, ValueError) as error:
            raise _damaged(error, number) from error


def _opened(data: bytes, password: str | None) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(data, password=password)
    except pypdfium2.PdfiumError as error:
        if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
            raise InvalidImage(
                "the PDF needs a password; send it as `password` beside the PDF"
                if password is None
                else "the password does not open the PDF"
            ) from None
        raise _damaged(error) from error


def _damaged(error: Exception, number: int | None = None) -> InvalidImage:
    place = "" if number is None else f" at page {number + 1}"
    return InvalidImage(f"the PDF cannot be read{place}: {str(error).rstrip('.')}")
