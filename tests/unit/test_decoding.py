"""Decoding of damaged and odd files, in whichever process it runs."""

import struct
import zlib

import pytest
from PIL import Image

from images import decoding
from images.errors import InvalidImage
from images.pdf import LONGEST_SIDE
from tests.payloads import encoded

PIXELS = 50_000_000
PAGES = 64


def tiff_of_frames(count: int) -> bytes:
    """A TIFF with `count` empty directories, each 6 bytes long and pointing to the next."""
    first = encoded(Image.new("L", (1, 1)), "TIFF")
    offset = struct.unpack("<I", first[4:8])[0]
    entries = struct.unpack("<H", first[offset : offset + 2])[0]
    link = offset + 2 + 12 * entries
    start = len(first) + len(first) % 2
    directories = b"".join(struct.pack("<HI", 0, start + 6 * (number + 1)) for number in range(count))
    return first[:link] + struct.pack("<I", start) + first[link + 4 :].ljust(start - link - 4, b"\0") + directories


def test_counting_the_pages_of_a_tiff_stops_at_the_limit() -> None:
    """Finding each of a million directories used to cost microseconds before any limit was checked."""
    with pytest.raises(InvalidImage):
        decoding.open_file(tiff_of_frames(10**6), PIXELS, 4)


def test_a_tiff_whose_second_page_has_no_size_is_damaged() -> None:
    """Pillow's TypeError used to be an unexpected error, 500."""
    with pytest.raises(InvalidImage, match="damaged: Missing dimensions"):
        decoding.open_file(tiff_of_frames(1), PIXELS, PAGES)


def test_a_png_with_an_empty_colour_profile_is_damaged() -> None:
    """Pillow's IndexError used to be an unexpected error, 500."""
    profile = struct.pack("!I", 0) + b"iCCP" + struct.pack("!I", zlib.crc32(b"iCCP"))
    image = encoded(Image.effect_noise((300, 200), 90).convert("RGB"))
    with pytest.raises(InvalidImage, match="damaged"):
        decoding.open_file(image[:-12] + profile + image[-12:], PIXELS, PAGES)  # after the pixels


def page_of(width: str, height: str) -> bytes:
    return (
        f"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        f"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 {width} {height}]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
    ).encode()


@pytest.mark.parametrize(("width", "height"), [("1", "100000000"), ("100000000", "1"), ("0.001", "1e8"), ("0", "0")])
def test_a_page_that_is_a_line_is_drawn_small(width: str, height: str) -> None:
    """Limited by area alone, a page of 1 x 100,000,000 points had 14 million pixels in one column."""
    page = decoding.open_page(page_of(width, height), 0, PIXELS)
    assert max(page.size) <= LONGEST_SIDE
