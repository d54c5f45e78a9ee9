"""Images and documents in data URIs: formats, conversions, limits and errors."""

import asyncio
import base64

import numpy as np
import pytest
from PIL import Image

from api.errors import translated
from images.decoding import FORMATS
from images.errors import DecoderEnded, DecoderUnavailable, ImageError, InvalidImage
from images.loading import ImageLimits, load_images
from tests.payloads import data_uri, encoded

RED = (200, 30, 30)


def load(url: str, limits: ImageLimits | None = None) -> Image.Image:
    (image,) = asyncio.run(load_images(url, "param", limits or ImageLimits()))
    return image.open()


def refused(url: str, limits: ImageLimits | None = None) -> str:
    """The message of an invalid image."""
    with pytest.raises(InvalidImage) as refusal:
        load(url, limits)
    assert refusal.value.param == "param"
    return str(refusal.value)


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_is_read(format_: str) -> None:
    loaded = load(data_uri(Image.new("RGB", (20, 10), RED), format_))
    assert (loaded.mode, loaded.size) == ("RGB", (20, 10))
    assert np.abs(np.asarray(loaded, dtype=int) - RED).max() <= 6  # JPEG and WebP are lossy


def test_a_rotated_photograph_is_set_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    assert load(data_uri(Image.new("RGB", (20, 10)), "JPEG", exif=exif)).size == (10, 20)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_pixels_become_white(mode: str) -> None:
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


def test_other_data_is_not_an_image() -> None:
    assert "not an image" in refused("data:image/png;base64," + base64.b64encode(b"hello").decode())


def test_a_cut_image_is_damaged() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    cut = encoded(Image.fromarray(noise))[:2000]
    assert "damaged" in refused("data:image/png;base64," + base64.b64encode(cut).decode())


def test_too_many_bytes_are_refused() -> None:
    assert "over 100 bytes" in refused(data_uri(Image.effect_noise((50, 50), 80)), ImageLimits(max_image_bytes=100))


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    assert "1000 x 1000" in refused(data_uri(Image.new("1", (1000, 1000))), ImageLimits(max_image_pixels=999_999))


def test_every_page_of_a_tiff_is_a_page() -> None:
    first, second = Image.new("RGB", (20, 10), RED), Image.new("L", (9, 9))
    pages = asyncio.run(load_images(data_uri(first, "TIFF", save_all=True, append_images=[second]), "p", ImageLimits()))
    assert [(page.page, page.open().size, page.open().mode) for page in pages] == [
        (True, (20, 10), "RGB"),
        (True, (9, 9), "RGB"),
    ]


def test_a_gif_is_its_first_frame() -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("white", "black")]
    assert load(data_uri(frames[0], "GIF", save_all=True, append_images=frames[1:])).getpixel((0, 0)) == (255, 255, 255)


def test_every_page_of_a_pdf_is_a_page() -> None:
    a4 = Image.new("RGB", (1190, 1684), "white")
    uri = data_uri(a4, "PDF", resolution=144, save_all=True, append_images=[Image.new("RGB", (300, 300), RED)])
    first, second = asyncio.run(load_images(uri, "p", ImageLimits()))
    assert first.page
    assert 1_900_000 < np.prod(first.open().size) <= 2_010_000
    assert second.open().getpixel((50, 50)) == pytest.approx(RED, abs=6)


@pytest.mark.parametrize("format_", ["PDF", "TIFF"])
def test_more_pages_than_the_limit_are_refused(format_: str) -> None:
    page = Image.new("RGB", (30, 30))
    uri = data_uri(page, format_, save_all=True, append_images=[page] * 2)
    assert "has 3 pages" in refused(uri, ImageLimits(max_pages=2))


def test_a_pdf_that_cannot_be_read_is_refused() -> None:
    assert "the PDF cannot be read" in refused(
        "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.7 x").decode()
    )


def test_a_huge_page_is_drawn_small() -> None:
    huge = data_uri(Image.new("1", (3000, 3000)), "PDF", resolution=10)  # 300 inches a side
    (page,) = asyncio.run(load_images(huge, "p", ImageLimits()))
    assert np.prod(page.open().size) <= 2_010_000


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1)])
def test_sides_of_one_pixel_are_read(size: tuple[int, int]) -> None:
    assert load(data_uri(Image.new("RGB", size))).size == size


@pytest.mark.parametrize(
    ("error", "status", "param", "code"),
    [
        (InvalidImage("no", "messages.0"), 400, "messages.0", None),
        (DecoderEnded("no", "messages.0"), 400, "messages.0", "decoder_ended"),
        (DecoderUnavailable("no"), 503, None, "decoder_unavailable"),
    ],
)
def test_the_api_translates_image_errors(error: ImageError, status: int, param: str | None, code: str | None) -> None:
    answer = translated(error)
    assert (answer.status, answer.error["message"]) == (status, "no")
    assert (answer.error["param"], answer.error["code"]) == (param, code)
