"""The bytes of an image or document -> pixels. Runs in separate processes (processes.py): light, knows no requests."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageOps, UnidentifiedImageError

from images.errors import InvalidImage
from images.pdf import count_pages, draw_page, is_pdf

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


def open_file(data: bytes, max_pixels: int, max_pages: int) -> Image.Image | int:
    """The image, upright RGB on white; for a PDF or TIFF, its number of pages, for `open_page`. Raises InvalidImage."""
    if is_pdf(data):
        return count_pages(data, max_pages)
    with _opened(data) as image:
        pages = _count_frames(image, max_pages) if image.format == "TIFF" else 1
        if pages > max_pages:
            raise InvalidImage(f"the TIFF has {pages} pages or more; one request may have at most {max_pages}")
        image.seek(0)
        return pages if pages > 1 else _upright(image, max_pixels)


def open_page(data: bytes, number: int, max_pixels: int) -> Image.Image:
    """A page of a PDF or TIFF, from 0, upright RGB on white. Raises InvalidImage."""
    if is_pdf(data):
        return draw_page(data, number)
    with _opened(data) as image:
        image.seek(number)
        return _upright(image, max_pixels)


def _count_frames(image: Image.Image, limit: int) -> int:
    """The number of frames; counting stops at `limit` + 1, since a file of some megabytes can hold millions."""
    try:
        for number in range(1, limit + 1):
            image.seek(number)
    except EOFError:
        return number
    return limit + 1


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """The file, of which only the header has been read. Any error inside counts as the image's fault."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata, and sizes that our own limit covers
            yield Image.open(io.BytesIO(data), formats=FORMATS)
    except InvalidImage:
        raise
    except UnidentifiedImageError:
        known = ", ".join((*FORMATS, "PDF"))
        raise InvalidImage(f"the data is not an image in a supported format: {known}") from None
    except MemoryError:
        raise InvalidImage("the image takes more memory to decode than is allowed") from None
    except Exception as error:  # Pillow's readers raise most kinds: TypeError and IndexError were observed
        raise InvalidImage(f"the image is damaged: {error}") from error


def _upright(image: Image.Image, max_pixels: int) -> Image.Image:
    """The file's current frame, decoded."""
    width, height = image.size
    if width * height > max_pixels:
        raise InvalidImage(f"an image of {width} x {height} is over {max_pixels} pixels")
    image.load()
    return _as_rgb(ImageOps.exif_transpose(image))


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        # 16-bit grey: PIL's own conversion would clip everything above 255 to white.
        image = image.convert("F").point(lambda value: value / 257).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    return image.convert("RGB")
