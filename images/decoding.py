"""The bytes of an image or document -> pixels. Runs in separate processes (processes.py): light, knows no requests."""

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from images import heic
from images.damage import mended
from images.errors import InvalidImage
from images.pdf import count_pages, draw_page, is_pdf

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000")
MAX_PIXELS = 50_000_000  # in an image, unless a setting says otherwise
BYTES_PER_PIXEL = 32  # while an image is decoded, turned and put on white
MAX_RATIO = 200  # longer side over shorter: a strip is padded to it, as no model takes longer ones
LIGHT = 225  # level up to 255: ink that is lighter cannot be read on white
TOLERANT = ("PNG", "JPEG")  # formats of which a damaged file is read as far as it goes, as browsers do
WARNINGS = "warnings"  # key of what the client should be told, in the `info` of an image
WHITE_IS_ZERO, PHOTOMETRIC = 0, 262  # a TIFF's tag, and its value for negatives


def open_file(data: bytes, max_pixels: int, max_pages: int, password: str | None = None) -> Image.Image | int:
    """The image, upright RGB on white; for a PDF or TIFF, its number of pages, for `open_page`. Raises InvalidImage.

    `password`: of a PDF.
    """
    if is_pdf(data):
        return count_pages(data, max_pages, password)
    with _opened(data) as image:
        kind = image.format
        pages = _count_frames(image, max_pages) if kind == "TIFF" else 1
        if pages > max_pages:
            raise InvalidImage(f"the TIFF has {pages} pages or more; one request may have at most {max_pages}")
        if kind == "TIFF":
            image.seek(0)
        if pages > 1:
            return pages
        if kind not in TOLERANT:
            return _upright(image, max_pixels)
    return _upright_as_far_as_it_goes(data, max_pixels)


def open_page(data: bytes, number: int, max_pixels: int, password: str | None = None) -> Image.Image:
    """A page of a PDF or TIFF, from 0, upright RGB on white. Raises InvalidImage."""
    if is_pdf(data):
        return draw_page(data, number, password)
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
            as_heic = heic.is_heic(data) and heic.can_read()
            yield Image.open(io.BytesIO(data), formats=[heic.FORMAT] if as_heic else FORMATS)
    except InvalidImage:
        raise
    except UnidentifiedImageError:
        if heic.is_heic(data) and not heic.can_read():
            raise InvalidImage(
                "this server does not read HEIC; send the image as JPEG, PNG, WebP or AVIF, or install its extra heic"
            ) from None
        known = ", ".join((*FORMATS, "PDF"))
        raise InvalidImage(f"the data is not an image in a supported format: {known}") from None
    except MemoryError:
        raise InvalidImage("the image takes more memory to decode than is allowed") from None
    except Exception as error:  # Pillow's readers raise most kinds: TypeError and IndexError were observed
        raise InvalidImage(f"the image is damaged: {error}") from error


def _upright_as_far_as_it_goes(data: bytes, max_pixels: int) -> Image.Image:
    """An image of which small damage is left out, with a warning. Raises InvalidImage where most of it is lost."""
    try:
        with _opened(data) as image:
            return _upright(image, max_pixels)
    except InvalidImage as error:
        ImageFile.LOAD_TRUNCATED_IMAGES = True  # Pillow's switch is for a process, which reads one file at a time
        try:
            with _opened(data) as image:
                kind, whole = image.format, _upright(image, max_pixels)
        except InvalidImage:
            raise error from None
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        found = mended(whole)
        if found is None:
            raise
        found.info[WARNINGS] = [f"the {kind} is damaged; what could not be decoded is white"]
        return found


def _upright(image: Image.Image, max_pixels: int) -> Image.Image:
    """The file's current frame, decoded."""
    width, height = image.size
    if width * height > max_pixels:
        raise InvalidImage(f"an image of {width} x {height} is over {max_pixels} pixels")
    image.load()
    sixteen = image.mode.startswith("I;16")  # Pillow turns negatives of 8 bits by itself
    negative = sixteen and getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO
    upright = _as_rgb(ImageOps.exif_transpose(image))
    return _padded(ImageOps.invert(upright) if negative else upright, max_pixels)


def _padded(image: Image.Image, max_pixels: int) -> Image.Image:
    """A strip with white beside it, unless that were over the limit."""
    width, height = image.size
    least = math.ceil(max(width, height) / MAX_RATIO)
    if min(width, height) >= least or least * max(width, height) > max_pixels:
        return image
    paper = Image.new("RGB", (max(width, least), max(height, least)), "white")
    paper.paste(image, ((paper.width - width) // 2, (paper.height - height) // 2))
    return paper


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _as_grey(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        if _would_vanish(image):
            black = Image.new("RGBA", image.size, "black")
            return ImageOps.invert(Image.alpha_composite(black, image).convert("RGB"))
        return Image.alpha_composite(paper, image).convert("RGB")
    return image.convert("RGB")


def _as_grey(image: Image.Image) -> Image.Image:
    """An image of 16 bits or of floats in 8 bits; PIL's own conversion would clip everything above 255 to white."""
    sixteen = image.mode.startswith("I;16")
    floats = image.convert("F")
    _, highest = floats.getextrema()
    largest = 65535.0 if sixteen or highest > 255 else 255.0 if highest > 1 else 1.0  # type: ignore[operator]
    return floats.point(lambda value: value * (255 / largest)).convert("L")


def _would_vanish(image: Image.Image) -> bool:
    """Whether all that is opaque is nearly white, as text for dark pages is."""
    opaque = image.getchannel("A").point(lambda value: 255 if value > 127 else 0)
    grey = image.convert("RGB").convert("L")
    seen = grey.histogram(opaque)
    return sum(seen) > 0 and sum(seen[:LIGHT]) < sum(seen) / 100 and opaque.getextrema()[0] == 0
