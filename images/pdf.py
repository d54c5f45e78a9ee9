"""The pages of a PDF, drawn by PDFium. As light as decoding.py, which runs it."""

import math
import threading

import pypdfium2
from PIL import Image

PAGE_PIXELS = 2_000_000  # twice what the model looks at; A4 at 144 dpi
LONGEST_SIDE = 20_000  # pixels: a page may be a line of any length
MAX_SCALE = 4.0  # pixels a point (288 dpi), for small pages
PDFIUM = threading.Lock()  # it takes one thread at a time


class UndecodableError(ValueError):
    """A file that is damaged, too big or nothing that can be read; the message tells the client."""


def is_pdf(data: bytes) -> bool:
    return b"%PDF-" in data[:1024]  # readers allow junk before the header


def count_pages(data: bytes, most: int) -> int:
    """From 1 to `most`. Raises UndecodableError."""
    with PDFIUM, _opened(data) as document:
        count = len(document)
    if not 0 < count <= most:
        raise UndecodableError(f"the PDF has {count} pages; 1 to {most} can be read in one request")
    return count


def draw_page(data: bytes, number: int) -> Image.Image:
    """RGB of about PAGE_PIXELS. Raises UndecodableError."""
    with PDFIUM, _opened(data) as document:
        try:
            document.init_forms()  # what is filled into fields is drawn as well
            page = document[number]
            width, height = page.get_size()  # points
            scale = min(
                MAX_SCALE,
                math.sqrt(PAGE_PIXELS / max(1.0, width * height)),
                LONGEST_SIDE / max(1.0, width, height),
            )
            return page.render(scale=scale).to_pil().convert("RGB")
        except MemoryError:
            raise UndecodableError(f"page {number + 1} of the PDF takes more memory to draw than is allowed") from None
        except (pypdfium2.PdfiumError, ValueError) as error:
            raise _damaged(error, number) from error


def _opened(data: bytes) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        raise _damaged(error) from error


def _damaged(error: Exception, number: int | None = None) -> UndecodableError:
    place = "" if number is None else f" at page {number + 1}"
    return UndecodableError(f"the PDF cannot be read{place}: {str(error).rstrip('.')}")
