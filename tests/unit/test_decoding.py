"""Decoding of damaged and odd files, in whichever process it runs."""

import struct
import zlib

import pytest
from PIL import Image

from images import decoding, heic
from images.errors import InvalidImage
from images.pdf import LONGEST_SIDE
from tests.payloads import encoded

PIXELS = 50_000_000
PAGES = 64
ORIENTATION = 274  # the tag of Exif


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


def test_white_text_on_transparency_is_read_as_black_on_white() -> None:
    image = Image.new("RGBA", (40, 20), (255, 255, 255, 0))
    image.paste((255, 255, 255, 255), (10, 5, 30, 15))
    opened = decoding.open_file(encoded(image), PIXELS, PAGES)
    assert isinstance(opened, Image.Image)
    assert (opened.getpixel((0, 0)), opened.getpixel((20, 10))) == ((255, 255, 255), (0, 0, 0))


def test_black_text_on_transparency_stays_black_on_white() -> None:
    image = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (10, 5, 30, 15))
    opened = decoding.open_file(encoded(image), PIXELS, PAGES)
    assert isinstance(opened, Image.Image)
    assert (opened.getpixel((0, 0)), opened.getpixel((20, 10))) == ((255, 255, 255), (0, 0, 0))


@pytest.mark.parametrize("size", [(900, 4), (4, 900), (5700, 28), (1, 400)])
def test_a_strip_is_padded_to_a_ratio_that_models_take(size: tuple[int, int]) -> None:
    opened = decoding.open_file(encoded(Image.new("L", size)), PIXELS, PAGES)
    assert isinstance(opened, Image.Image)
    assert max(opened.size) == max(size)
    assert max(opened.size) / min(opened.size) <= decoding.MAX_RATIO


@pytest.mark.parametrize("largest", [1.0, 255.0, 65535.0])
def test_a_tiff_of_floats_keeps_its_levels(largest: float) -> None:
    image = Image.new("F", (8, 8), largest)
    image.putpixel((3, 3), 0)
    opened = decoding.open_file(encoded(image, "TIFF"), PIXELS, PAGES)
    assert isinstance(opened, Image.Image)
    assert (opened.getpixel((0, 0)), opened.getpixel((3, 3))) == ((255, 255, 255), (0, 0, 0))


@pytest.mark.parametrize("format_", ["AVIF", "JPEG2000", heic.FORMAT])
def test_newer_formats_are_read(format_: str) -> None:
    assert heic.can_read(), "scripts/setup installs pillow-heif"
    opened = decoding.open_file(encoded(Image.new("RGB", (64, 48), "white"), format_), PIXELS, PAGES)
    assert isinstance(opened, Image.Image)
    assert opened.size == (64, 48)


def test_a_photograph_in_heic_is_turned_upright_and_held_to_the_limit_of_pixels() -> None:
    assert heic.can_read(), "scripts/setup installs pillow-heif"
    photograph = Image.new("RGB", (64, 48), "white")
    photograph.paste("black", (0, 0, 8, 48))
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # turn clockwise: its left edge is the upper one
    photograph.info["exif"] = exif.tobytes()  # the writer makes HEIC's own transformation of it
    data = encoded(photograph, heic.FORMAT, quality=-1)
    opened = decoding.open_file(data, PIXELS, PAGES)
    assert isinstance(opened, Image.Image)
    assert opened.size == (48, 64)
    assert [max(opened.getpixel(place)) < 50 for place in ((24, 2), (24, 60))] == [True, False]  # type: ignore[arg-type]
    with pytest.raises(InvalidImage, match="48 x 64 is over 3000 pixels"):
        decoding.open_file(data, 3000, PAGES)


def test_avif_is_told_from_heic_where_its_first_brand_is_the_one_of_both() -> None:
    data = encoded(Image.new("RGB", (64, 48), "white"), "AVIF")
    opened = decoding.open_file(data[:8] + b"mif1" + data[12:], PIXELS, PAGES)
    assert isinstance(opened, Image.Image)
    assert opened.size == (64, 48)


def test_the_main_image_of_several_in_heic_is_read() -> None:
    assert heic.can_read(), "scripts/setup installs pillow-heif"
    first, second = Image.new("RGB", (64, 48), "white"), Image.new("RGB", (48, 64), "white")
    data = encoded(first, heic.FORMAT, save_all=True, append_images=[second], primary_index=1)
    opened = decoding.open_file(data, PIXELS, PAGES)
    assert isinstance(opened, Image.Image)
    assert opened.size == (48, 64)
