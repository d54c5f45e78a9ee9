"""Data URI -> PIL picture, within limits on bytes and pixels. Every fault is a 400 that names the part."""

import base64
import binascii
import io
import warnings
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from api.errors import invalid

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


@dataclass(frozen=True)
class Limits:
    max_image_bytes: int = 20 * 2**20  # of one encoded picture
    max_image_pixels: int = 50_000_000  # of one decoded picture
    max_images: int = 16  # in one request


def load_image(url: str, param: str, limits: Limits) -> Image.Image:
    """The picture of a data URI as upright RGB on white. Raises ApiError (400)."""
    data = _decode(url, param, limits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is checked below
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
            if width * height > limits.max_image_pixels:
                raise invalid(f"a picture of {width} x {height} is over {limits.max_image_pixels} pixels", param)
            image.load()
    except UnidentifiedImageError:
        raise invalid(f"the data is no picture that can be read; {', '.join(FORMATS)} can", param) from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise invalid(f"the picture is damaged: {error}", param) from error
    return _as_rgb(ImageOps.exif_transpose(image))


def _decode(url: str, param: str, limits: Limits) -> bytes:
    """The bytes of a base64 data URI."""
    header, comma, encoded = url.partition(",")
    if not header.startswith("data:") or not comma:
        start = url[:40]
        raise invalid(f"a picture is given as data:image/png;base64,...; URLs are not fetched (got {start!r})", param)
    if not header.endswith(";base64"):
        raise invalid("a data URI must be base64: data:image/png;base64,...", param)
    if len(encoded) * 3 // 4 > limits.max_image_bytes:
        raise invalid(f"the picture is over {limits.max_image_bytes} bytes", param)
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
