import asyncio
import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api.errors import ApiError
from images.decoding import FORMATS
from images.loading import Limits, load_images
from tests.payloads import data_uri

RED = (200, 30, 30)


def load(url: str, limits: Limits | None = None) -> Image.Image:
    (image,) = asyncio.run(load_images(url, "param", limits or Limits()))
    return image.open()


def refused(url: str, limits: Limits | None = None) -> str:
    with pytest.raises(ApiError) as refusal:
        load(url, limits)
    assert refusal.value.status == 400
    assert refusal.value.error["param"] == "param"
    return str(refusal.value)


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_is_read(format_: str) -> None:
    loaded = load(data_uri(Image.new("RGB", (20, 10), RED), format_))
    assert (loaded.mode, loaded.size) == ("RGB", (20, 10))
    assert np.abs(np.asarray(loaded, dtype=int) - RED).max() <= 6  # JPEG and WebP lose a little


def test_a_turned_photograph_is_set_upright() -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.new("RGB", (20, 10)).save(buffer, "JPEG", exif=exif)
    assert load(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}").size == (10, 20)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert("LA") if mode != "RGBA" else Image.new("RGBA", (4, 4))
    assert load(data_uri(clear)).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_keeps_its_shades() -> None:
    shades = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    assert [pixel[0] for pixel in np.asarray(load(data_uri(Image.fromarray(shades))))[0]] == [0, 100, 255]


def test_cmyk_is_converted() -> None:
    loaded = load(data_uri(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"))
    assert loaded.getpixel((0, 0)) == (255, 255, 255)


def test_base64_must_be_valid() -> None:
    assert "base64" in refused("data:image/png;base64,!!!!")


def test_percent_encoding_is_refused() -> None:
    assert "must be base64" in refused("data:image/svg+xml,%3Csvg%3E")


def test_other_data_is_no_image() -> None:
    assert "no image" in refused("data:image/png;base64," + base64.b64encode(b"hello").decode())


def test_a_cut_image_is_damaged() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    assert "damaged" in refused("data:image/png;base64," + base64.b64encode(buffer.getvalue()[:2000]).decode())


def test_too_many_bytes_are_refused() -> None:
    assert "over 100 bytes" in refused(data_uri(Image.effect_noise((50, 50), 80)), Limits(max_image_bytes=100))


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    assert "1000 x 1000" in refused(data_uri(Image.new("1", (1000, 1000))), Limits(max_image_pixels=999_999))


def encoded(image: Image.Image, format_: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return f"data:application/octet-stream;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def test_every_page_of_a_tiff_is_a_page() -> None:
    first, second = Image.new("RGB", (20, 10), RED), Image.new("L", (9, 9))
    pages = asyncio.run(load_images(encoded(first, "TIFF", save_all=True, append_images=[second]), "p", Limits()))
    assert [(page.page, page.open().size, page.open().mode) for page in pages] == [
        (True, (20, 10), "RGB"),
        (True, (9, 9), "RGB"),
    ]


def test_a_gif_is_its_first_frame() -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("white", "black")]
    assert load(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])).getpixel((0, 0)) == (255, 255, 255)


def test_every_page_of_a_pdf_is_a_page() -> None:
    a4 = Image.new("RGB", (1190, 1684), "white")
    uri = encoded(a4, "PDF", resolution=144, save_all=True, append_images=[Image.new("RGB", (300, 300), RED)])
    first, second = asyncio.run(load_images(uri, "p", Limits()))
    assert first.page
    assert 1_900_000 < np.prod(first.open().size) <= 2_010_000
    assert second.open().getpixel((50, 50)) == pytest.approx(RED, abs=6)


@pytest.mark.parametrize("format_", ["PDF", "TIFF"])
def test_more_pages_than_the_limit_are_refused(format_: str) -> None:
    page = Image.new("RGB", (30, 30))
    uri = encoded(page, format_, save_all=True, append_images=[page] * 2)
    assert "has 3 pages" in refused(uri, Limits(max_pages=2))


def test_a_pdf_that_cannot_be_read_is_refused() -> None:
    assert "the PDF cannot be read" in refused(
        "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.7 x").decode()
    )


def test_a_huge_page_is_drawn_small() -> None:
    huge = encoded(Image.new("1", (3000, 3000)), "PDF", resolution=10)  # 300 inches a side
    (page,) = asyncio.run(load_images(huge, "p", Limits()))
    assert np.prod(page.open().size) <= 2_010_000


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1)])
def test_sides_of_one_pixel_are_read(size: tuple[int, int]) -> None:
    assert load(data_uri(Image.new("RGB", size))).size == size
