"""A process that makes one searchable PDF, and ends: `python -m exports.searchable.process`, its order on stdin.

Untrusted bytes may hang, exhaust memory or crash it; that is one document's failure. It replies with a line of JSON:
{"refused": null}, or the reason.
"""

import io
import json
import resource
import sys
from pathlib import Path

import pypdfium2
from PIL import Image
from pypdfium2 import PdfBitmap, PdfDocument, PdfImage, PdfMatrix

from exports.searchable.font import Font
from exports.searchable.order import Order
from exports.searchable.place import add_texts
from exports.searchable.rows import cleaned
from images import decoding
from images.errors import InvalidImage
from images.pdf import is_pdf

POINTS = 72  # to the inch
USUAL_DPI = 96.0  # for an image that does not say how large it is
DPI = (30.0, 2400.0)  # beyond which an image is not believed
ORIENTATION, UNTURNED = 0x0112, 1  # a tag of Exif and the value that most images have


def main(order: Order) -> None:
    try:
        _make(order)
        refused = None
    except (InvalidImage, pypdfium2.PdfiumError) as error:
        refused = str(error)
    except MemoryError:
        refused = "the document takes more memory than is allowed"
    print(json.dumps({"refused": refused}), flush=True)  # noqa: T201 - the reply


def _make(order: Order) -> None:
    data = Path(order.source).read_bytes()
    document = _pages_of_pdf(order, data) if is_pdf(data) else _pages_of_images(order, data)
    texts = (cleaned(text.text) for page in order.pages for text in page.texts)
    font = Font(document, {one for text in texts for one in text if one != "\n"} | {" "})
    for place, page in enumerate(order.pages):
        opened = document[place]
        add_texts(opened, page, font)
        opened.close()
    document.save(order.target)


def _pages_of_pdf(order: Order, data: bytes) -> PdfDocument:
    document = PdfDocument(data)
    wanted = {page.number for page in order.pages}
    for number in range(len(document), 0, -1):
        if number not in wanted:
            del document[number - 1]
    return document


def _pages_of_images(order: Order, data: bytes) -> PdfDocument:
    document = PdfDocument.new()
    for page in order.pages:
        _add_image(document, data, page.number - 1)
    return document


def _add_image(document: PdfDocument, data: bytes, frame: int) -> None:
    """Add a page with an image: a JPEG as it is, if it is upright, another one as its pixels."""
    made = PdfImage.new(document)
    with Image.open(io.BytesIO(data), formats=decoding.FORMATS) as image:
        image.seek(frame)
        dots = image.info.get("dpi")
        as_it_is = image.format == "JPEG" and image.mode in ("L", "RGB")
        as_it_is = as_it_is and image.getexif().get(ORIENTATION, UNTURNED) == UNTURNED
    if as_it_is:
        made.load_jpeg(io.BytesIO(data), inline=True)
    else:
        made.set_bitmap(PdfBitmap.from_pil(decoding.open_page(data, frame, decoding.MAX_PIXELS)))
    width, height = made.get_px_size()
    across, down = _dpi(dots)
    size = width * POINTS / across, height * POINTS / down
    made.set_matrix(PdfMatrix().scale(*size))
    page = document.new_page(*size)
    page.insert_obj(made)
    page.gen_content()
    page.close()


def _dpi(dots: object) -> tuple[float, float]:
    if isinstance(dots, tuple) and len(dots) == 2 and all(DPI[0] <= float(one) <= DPI[1] for one in dots):
        return float(dots[0]), float(dots[1])
    return USUAL_DPI, USUAL_DPI


if __name__ == "__main__":
    told = Order.model_validate_json(sys.stdin.read())
    for kind, limit in ((resource.RLIMIT_DATA, told.memory), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    main(told)
