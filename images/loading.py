"""What a message points to -> images, within limits. Every fault is a 400 that names the part."""

import asyncio
import base64
import binascii
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from PIL import Image

from api.errors import DECODER_ENDED, ApiError, invalid
from images import decoding
from images.fetching import FetchLimits, fetch
from images.pdf import UndecodableError
from images.processes import DecoderError, EndedDecoderError
from images.source import ImageSource

T = TypeVar("T")


class Decoder(Protocol):
    """The module `decoding`, or its like in processes apart: `decoders.Decoders`."""

    def open_file(self, data: bytes, max_pixels: int, max_pages: int) -> Image.Image | int: ...

    def open_page(self, data: bytes, number: int, max_pixels: int) -> Image.Image: ...


@dataclass(frozen=True)
class Limits:
    max_image_bytes: int = 20 * 2**20  # of one encoded image or document
    max_image_pixels: int = 50_000_000  # of one decoded image
    max_images: int = 16  # parts with images or documents in one request
    max_pages: int = 64  # of one document
    fetching: FetchLimits = field(default_factory=FetchLimits)


async def load_images(
    reference: str,
    param: str,
    limits: Limits,
    decoder: Decoder = decoding,
    turn: AbstractAsyncContextManager[None] | None = None,
) -> list[ImageSource]:
    """The image, or the pages of the document, that a data URI or address stands for. Raises ApiError.

    `turn`: within which it is decoded, once its bytes are there: nobody waits for another's slow host.
    """
    if reference.startswith("data:"):
        data = await asyncio.to_thread(_decode, reference, param, limits.max_image_bytes)
    else:
        data = await fetch(reference, param, limits.fetching)
    async with turn or nullcontext():
        return await asyncio.to_thread(read_images, data, param, limits, decoder)


def read_images(data: bytes, param: str, limits: Limits, decoder: Decoder = decoding) -> list[ImageSource]:
    """An image, decoded; or every page of a PDF or TIFF, which is decoded when it is opened. Raises ApiError."""
    found = _of(param, decoder.open_file, data, limits.max_image_pixels, limits.max_pages)
    if isinstance(found, Image.Image):
        return [ImageSource(lambda: found, bytes=decoded_bytes(found))]
    opened = partial(_of, param, decoder.open_page, data)
    pages = [partial(opened, number, limits.max_image_pixels) for number in range(found)]
    return [ImageSource(page, page=True, bytes=len(data)) for page in pages]


def decoded_bytes(image: Image.Image) -> int:
    """The memory that it takes."""
    return image.width * image.height * len(image.getbands())


def _of(param: str, decode: Callable[..., T], *arguments: object) -> T:
    """What is decoded. Raises ApiError for what cannot be."""
    try:
        return decode(*arguments)
    except EndedDecoderError as error:
        raise ApiError(400, str(error), param=param, code=DECODER_ENDED) from error
    except UndecodableError as error:
        raise invalid(str(error), param) from error
    except DecoderError as error:
        raise ApiError(503, str(error), type_="server_error", code="decoder_unavailable") from error


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
