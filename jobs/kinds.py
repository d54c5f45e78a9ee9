"""What a file is, by its first bytes: the formats that the server reads."""

from typing import Literal

from images.decoding import FORMATS

FileKind = Literal["pdf", "tiff", "image"]

HEAD = 1024  # bytes that tell
MEDIA_TYPES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"BM": "image/bmp",
    b"GIF8": "image/gif",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
}
KNOWN = ", ".join((*FORMATS, "PDF"))


def media_type(head: bytes) -> str | None:
    """The media type of a file that begins so; None for a format that is not read."""
    if b"%PDF-" in head[:HEAD]:  # readers allow junk before the header
        return "application/pdf"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in MEDIA_TYPES.items() if head.startswith(magic)), None)


def file_kind(head: bytes) -> FileKind | None:
    """Whether a file has pages to split, by its first HEAD bytes; None for a format that is not read."""
    found = media_type(head)
    if found is None:
        return None
    return {"application/pdf": "pdf", "image/tiff": "tiff"}.get(found, "image")  # type: ignore[return-value]
