"""A file's bytes -> a document that the server reads: its kind told by its content, its pages counted or chosen."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pypdfium2
from PIL import Image, ImageSequence, UnidentifiedImageError

from cli.errors import UnreadableFileError, UsageError
from images import heic

PDF = "application/pdf"
HEIC = "image/heic"
PAGES = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class Document:
    """A document as it is sent."""

    name: str
    data: bytes
    mime: str
    pages: int

    @property
    def is_pdf(self) -> bool:
        return self.mime == PDF


def opened(name: str, data: bytes, pages: Sequence[int] | None = None) -> Document:
    """The document that `data` is; `pages`: those wanted, from 1. Raises UnreadableFileError."""
    if b"%PDF-" in data[:1024]:  # the header may follow junk
        return _pdf(name, data, pages)
    if heic.is_heic(data) and not heic.can_read():
        return Document(
            name, data, HEIC, len(_checked(pages or [1], 1))
        )  # the server may read it, else it says why not
    try:
        with Image.open(io.BytesIO(data)) as image:
            mime = image.get_format_mimetype() or "application/octet-stream"
            if image.format == heic.FORMAT:
                return Document(
                    name, _as_png(image), "image/png", len(_checked(pages or [1], 1))
                )  # every server reads that
            count = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
            if pages is not None:
                frames = [frame.copy() for frame in ImageSequence.Iterator(image)]
                data = _frames([frames[page - 1] for page in _checked(pages, count)])
                mime, count = "image/tiff", len(pages)
    except UnidentifiedImageError:
        raise UnreadableFileError("this is neither an image nor a PDF.") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableFileError(f"this image cannot be read: {error}") from None
    return Document(name, data, mime, count)


def pages_in(text: str) -> list[int]:
    """`1-3,7` -> [1, 2, 3, 7]. Raises UsageError."""
    found: list[int] = []
    for part in text.replace(" ", "").split(","):
        match = PAGES.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
            raise UsageError(f"--pages has value {text!r}. Use numbers and ranges from 1, such as 1-3,7.")
        found += range(first, last + 1)
    return list(dict.fromkeys(found))


def _pdf(name: str, data: bytes, pages: Sequence[int] | None) -> Document:
    try:
        with pypdfium2.PdfDocument(data) as pdf:
            count = len(pdf)
            if pages is None:
                return Document(name, data, PDF, count)
            chosen = pypdfium2.PdfDocument.new()
            chosen.import_pages(pdf, [page - 1 for page in _checked(pages, count)])
            buffer = io.BytesIO()
            chosen.save(buffer)
            return Document(name, buffer.getvalue(), PDF, len(pages))
    except pypdfium2.PdfiumError as error:
        reason = "it needs a password" if "assword" in str(error) else str(error)
        raise UnreadableFileError(f"this PDF cannot be opened: {reason}") from None


def _checked(pages: Sequence[int], count: int) -> Sequence[int]:
    beyond = [page for page in pages if page > count]
    if beyond:
        raise UnreadableFileError(f"page {beyond[0]} does not exist: there are {count}.")
    return pages


def _frames(frames: list[Image.Image]) -> bytes:
    buffer = io.BytesIO()
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:], compression="tiff_lzw")
    return buffer.getvalue()


def _as_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
