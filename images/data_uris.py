"""Data URIs as clients send them -> bytes."""

import base64
import binascii
import re
from urllib.parse import unquote

from images.errors import InvalidImage

SIGNATURES = (
    *(b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"%PDF", b"RIFF"),
    *(b"\0\0\0\x0cjP  ", b"\xffO\xffQ"),
)
"""The beginnings of the files that are read."""

MIN_BARE = 64  # characters of base64 without a prefix: shorter ones may be anything
_PREFIX = re.compile(r"\s*[\"']?\s*data:(?P<header>[^,]{0,256}),\s*", re.IGNORECASE)
_BARE = re.compile(r"[A-Za-z0-9+/_\-\s%=]+")
_HINT = "base64 needs a prefix that says what it is, such as data:image/png;base64,"


def is_data(reference: str) -> bool:
    """Whether a reference holds its content itself, with or without a prefix, and is no address."""
    return _PREFIX.match(reference) is not None or reference.lstrip()[:5].lower() == "data:" or _is_bare(reference)


def data_of(reference: str, param: str, max_bytes: int) -> bytes:
    """The bytes of a base64 data URI. Raises InvalidImage.

    Read all the same: any case, blanks and line breaks, a prefix that was put on twice, percent-encoding, the URL-safe
    alphabet, missing or surplus padding; and no prefix, where the content can only be a file that is read here.
    """
    prefix = _PREFIX.match(reference)
    encoded = reference
    while match := _PREFIX.match(encoded):
        prefix, encoded = match, encoded[match.end() :]
    if prefix is not None and not re.search(r";\s*base64\s*$", prefix["header"], re.IGNORECASE):
        raise InvalidImage("a data URI must be base64: data:image/png;base64,...", param)
    if prefix is None and reference.lstrip()[:5].lower() == "data:":
        raise InvalidImage("a data URI must be base64: data:image/png;base64,...", param)
    if len(encoded) * 3 // 4 > max_bytes and len("".join(encoded.split())) * 3 // 4 > max_bytes:
        raise InvalidImage(f"the data is over {max_bytes} bytes", param)
    try:
        data = _decoded(encoded)
    except (binascii.Error, ValueError) as error:
        raise InvalidImage(f"the data URI is not valid base64: {error}", param) from error
    if prefix is None and not _is_known(data):
        raise InvalidImage(f"the data is no image or PDF; {_HINT}", param)
    return data


def _decoded(encoded: str) -> bytes:
    """Raises ValueError."""
    text = unquote(encoded) if "%" in encoded else encoded
    text = "".join(text.split()).strip("\"'").rstrip("=").translate(str.maketrans("-_", "+/"))
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _is_bare(reference: str) -> bool:
    """Whether a reference can only be base64 without a prefix: an address has a colon or a point."""
    return len(reference) >= MIN_BARE and _BARE.fullmatch(reference) is not None


def _is_known(data: bytes) -> bool:
    return data.startswith(SIGNATURES) or data[4:8] == b"ftyp"  # HEIC and AVIF
