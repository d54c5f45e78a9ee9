import base64
import io

import numpy as np
import pytest
from PIL import Image

from api.errors import ApiError
from api.image_loading import FORMATS, Limits, load_image
from tests.http.conftest import data_uri

RED = (200, 30, 30)


def load(url: str, limits: Limits | None = None) -> Image.Image:
    return load_image(url, "param", limits or Limits())


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


def test_an_address_is_not_fetched() -> None:
    assert "not fetched" in refused("http://127.0.0.1:9/page.png")


def test_a_file_is_not_opened() -> None:
    assert "not fetched" in refused("file:///etc/passwd")


def test_base64_must_be_valid() -> None:
    assert "base64" in refused("data:image/png;base64,!!!!")


def test_percent_encoding_is_refused() -> None:
    assert "must be base64" in refused("data:image/svg+xml,%3Csvg%3E")


def test_other_data_is_no_picture() -> None:
    assert "no picture" in refused("data:image/png;base64," + base64.b64encode(b"hello").decode())


def test_a_cut_picture_is_damaged() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    assert "damaged" in refused("data:image/png;base64," + base64.b64encode(buffer.getvalue()[:2000]).decode())


def test_too_many_bytes_are_refused() -> None:
    assert "over 100 bytes" in refused(data_uri(Image.effect_noise((50, 50), 80)), Limits(max_image_bytes=100))


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    assert "1000 x 1000" in refused(data_uri(Image.new("1", (1000, 1000))), Limits(max_image_pixels=999_999))
