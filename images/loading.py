"""Data URIs and addresses of a request -> images, within limits."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol, TypeVar

from PIL import Image

from images import decoding
from images.data_uris import data_of, is_data
from images.errors import InvalidImage
from images.fetching import FetchLimits, fetch
from images.pdf import is_pdf
from images.source import ImageSource

T = TypeVar("T")


class Decoder(Protocol):
    """The module `decoding`, or `processes.DecoderProcesses`, which runs it in separate processes."""

    def open_file(
        self, data: bytes, max_pixels: int, max_pages: int, password: str | None = None
    ) -> Image.Image | int: ...

    def open_page(self, data: bytes, number: int, max_pixels: int, password: str | None = None) -> Image.Image: ...


@dataclass(frozen=True)
class ImageLimits:
    """Limits on the images and documents of one request."""

    max_image_bytes: int = FetchLimits.max_bytes  # per encoded image or document
    max_image_pixels: int = decoding.MAX_PIXELS  # per decoded image
    max_images: int = 16  # parts with images or documents in one request
    max_pages: int = 64  # per document
    fetching: FetchLimits = field(default_factory=FetchLimits)


async def load_images(
    reference: str,
    param: str,
    limits: ImageLimits,
    decoder: Decoder = decoding,
    turn: AbstractAsyncContextManager[None] | None = None,
    password: str | None = None,
) -> list[ImageSource]:
    """The image, or the pages of the document, of a data URI or address. Raises ImageError.

    `turn`: entered for decoding only, once the bytes have arrived, so that a slow host delays no other request.
    `password`: of a PDF.
    """
    if is_data(reference):
        data = await asyncio.to_thread(data_of, reference, param, limits.max_image_bytes)
    else:
        data = await fetch(reference, param, limits.fetching)
    async with turn or nullcontext():
        return await asyncio.to_thread(read_images, data, param, limits, decoder, password)


def read_images(
    data: bytes, param: str, limits: ImageLimits, decoder: Decoder = decoding, password: str | None = None
) -> list[ImageSource]:
    """An image, decoded; or every page of a PDF or TIFF, which is decoded when it is opened. Raises ImageError."""
    decoded = _decoded(param, decoder.open_file, data, limits.max_image_pixels, limits.max_pages, password)
    if isinstance(decoded, Image.Image):
        warnings = tuple(f"{param}: {warning}" for warning in decoded.info.get(decoding.WARNINGS, ()))
        return [ImageSource(lambda: decoded, bytes=decoded_bytes(decoded), warnings=warnings)]
    open_page = partial(_decoded, param, decoder.open_page, data)
    pages = [partial(open_page, number, limits.max_image_pixels, password) for number in range(decoded)]
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
