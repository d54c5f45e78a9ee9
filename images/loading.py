"""Data URIs and addresses of a request -> images, within limits."""

import asyncio
import base64
import binascii
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol, TypeVar

from PIL import Image

from images import decoding
from images.errors import InvalidImage
from images.fetching import FetchLimits, fetch
from images.pdf import is_pdf
from images.source import ImageSource

T = TypeVar("T")


class Decoder(Protocol):
    """The module `decoding`, or `processes.DecoderProcesses`, which runs it in separate processes."""

    def open_file(self, data: bytes, max_pixels: int, max_pages: int) -> Image.Image | int: ...

    def open_page(self, data: bytes, number: int, max_pixels: int) -> Image.Image: ...


@dataclass(frozen=True)
class ImageLimits:
    """Limits on the images and documents of one request."""

    max_image_bytes: int = FetchLimits.max_bytes  # per encoded image or document
    max_image_pixels: int = 50_000_000  # per decoded image
    max_images: int = 16  # parts with images or documents in one request
    max_pages: int = 64  # per document
    fetching: FetchLimits = field(default_factory=FetchLimits)


async def load_images(
    reference: str,
    param: str,
    limits: ImageLimits,
    decoder: Decoder = decoding,
    turn: AbstractAsyncContextManager[None] | None = None,
) -> list[ImageSource]:
    """The image, or the pages of the document, of a data URI or address. Raises ImageError.

    `turn`: entered for decoding only, once the bytes have arrived, so that a slow host delays no other request.
    """
    if reference.startswith("data:"):
        data = await asyncio.to_thread(_data_uri_bytes, reference, param, limits.max_image_bytes)
    else:
        data = await fetch(reference, param, limits.fetching)
    async with turn or nullcontext():
        return await asyncio.to_thread(read_images, data, param, limits, decoder)


def read_images(data: bytes, param: str, limits: ImageLimits, decoder: Decoder = decoding) -> list[ImageSource]:
    """An image, decoded; or every page of a PDF or TIFF, which is decoded when it is opened. Raises ImageError."""
    decoded = _decoded(param, decoder.open_file, data, limits.max_image_pixels, limits.max_pages)
    if isinstance(decoded, Image.Image):
        return [ImageSource(lambda: decoded, bytes=decoded_bytes(decoded))]
    open_page = partial(_decoded, param, decoder.open_page, data)
    pages = [partial(open_page, number, limits.max_image_pixels) for number in range(decoded)]
    kind: Literal["pdf", "tiff"] = "pdf" if is_pdf(data) else "tiff"
    return [ImageSource(page, page=True, kind=kind, bytes=len(data)) for page in pages]


def decoded_bytes(image: Image.Image) -> int:
    """The memory taken by the pixels."""
    return image.width * image.height * len(image.getbands())


def _decoded(param: str, decode: Callable[..., T], *arguments: object) -> T:
    """The result of `decode`. Raises ImageError, with `param` in an InvalidImage."""
    try:
        return decode(*arguments)
    except InvalidImage as error:
        error.param = param
        raise


def _data_uri_bytes(uri: str, param: str, max_bytes: int) -> bytes:
    """The bytes of a base64 data URI. Raises InvalidImage."""
    header, comma, encoded = uri.partition(",")
    if not comma or not header.endswith(";base64"):
        raise InvalidImage("a data URI must be base64: data:image/png;base64,...", param)
    if len(encoded) * 3 // 4 > max_bytes:
        raise InvalidImage(f"the data is over {max_bytes} bytes", param)
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidImage(f"the data URI is not valid base64: {error}", param) from error
