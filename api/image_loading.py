"""What a message points to -> pictures, within limits. Every fault is a 400 that names the part."""

import asyncio
import base64
import binascii
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from PIL import Image, ImageOps, UnidentifiedImageError

from api.documents import is_pdf, pdf_pages
from api.errors import invalid
from api.fetching import FetchLimits, fetch
from modes.choose import Picture

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


@dataclass(frozen=True)
class Limits:
    max_image_bytes: int = 20 * 2**20  # of one encoded picture or document
    max_image_pixels: int = 50_000_000  # of one decoded picture
    max_images: int = 16  # parts with pictures or documents in one request
    max_pages: int = 64  # of one document
    fetching: FetchLimits = field(default_factory=FetchLimits)


async def load_pictures(reference: str, param: str, limits: Limits) -> list[Picture]:
    """The picture, or the pages of the document, that a data URI or address stands for. Raises ApiError."""
    if reference.startswith("data:"):
        data = await asyncio.to_thread(_decode, reference, param, limits.max_image_bytes)
    else:
        data = await fetch(reference, param, limits.fetching)
    return await asyncio.to_thread(read_pictures, data, param, limits)


def read_pictures(data: bytes, param: str, limits: Limits) -> list[Picture]:
    """A picture, decoded; or every page of a PDF or TIFF, which is decoded when it is opened. Raises ApiError."""
    if is_pdf(data):
        return pdf_pages(data, param, limits.max_pages)
    with _opened(data, param) as image:
        frames = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        if frames > limits.max_pages:
            raise invalid(f"the TIFF has {frames} pages; {limits.max_pages} are the most in one request", param)
        if frames == 1:
            picture = _upright(image, param, limits)
            return [Picture(lambda: picture)]
    return [Picture(partial(_frame, data, number, param, limits), page=True) for number in range(frames)]


def _frame(data: bytes, number: int, param: str, limits: Limits) -> Image.Image:
    with _opened(data, param) as image:
        image.seek(number)
        return _upright(image, param, limits)


@contextmanager
def _opened(data: bytes, param: str) -> Iterator[Image.Image]:
    """The file, of which only the header has been read. What goes wrong inside is the picture's fault."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of sizes that our own limit is for
            yield Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        known = ", ".join((*FORMATS, "PDF"))
        raise invalid(f"the data is no picture that can be read; {known} can", param) from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise invalid(f"the picture is damaged: {error}", param) from error


def _upright(image: Image.Image, param: str, limits: Limits) -> Image.Image:
    """The frame that the file stands at, decoded to upright RGB on white. Raises ApiError."""
    width, height = image.size
    if width * height > limits.max_image_pixels:
        raise invalid(f"a picture of {width} x {height} is over {limits.max_image_pixels} pixels", param)
    image.load()
    return _as_rgb(ImageOps.exif_transpose(image))


def _decode(uri: str, param: str, max_bytes: int) -> bytes:
    """The bytes of a base64 data URI."""
    header, comma, encoded = uri.partition(",")
    if not comma or not header.endswith(";base64"):
        raise invalid("a data URI must be base64: data:image/png;base64,...", param)
    if len(encoded) * 3 // 4 > max_bytes:
        raise invalid(f"the data is over {max_bytes} bytes", param)
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"the data URI is not valid base64: {error}", param) from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        # 16 bit grey: PIL's own conversion would clip everything above 255 to white.
        image = image.convert("F").point(lambda value: value / 257).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    return image.convert("RGB")
