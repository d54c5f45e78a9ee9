from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from layout.blocks import Align, Block
from layout.crops import crop, figures_of, padded, stacked, trimmed
from layout.figures import Figure
from layout.tasks import task_of
from models.detection import Box, Detection, Polygon
from models.paddleocr_vl.images import MAX_ASPECT, ImageSettings
from models.protocol import PixelBounds

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def page(width: int = 400, height: int = 300) -> Image.Image:
    return Image.new("RGB", (width, height))


def block(label: str, *box: int, polygon: Polygon | None = None) -> Block:
    return Block((Detection(label, 0.9, Box(*box), 0, polygon),), task=task_of(label))


def test_a_block_is_cut_out_of_its_page() -> None:
    image = page()
    image.putpixel((30, 40), WHITE)
    cut = crop(image, block("text", 30, 40, 90, 60), MAX_ASPECT)
    assert cut.size == (60, 20)
    assert [cut.getpixel(at) for at in ((0, 0), (1, 0))] == [WHITE, BLACK]


def test_what_lies_outside_the_outline_is_white() -> None:
    outline = ((10.0, 10.0), (50.0, 10.0), (10.0, 50.0))
    cut = crop(page(), block("text", 10, 10, 50, 50, polygon=outline), MAX_ASPECT)
    assert [cut.getpixel(at) for at in ((5, 5), (35, 35))] == [BLACK, WHITE]


@pytest.mark.parametrize(
    ("aligns", "lefts"),
    [
        (["left", "left"], [0, 0, 0]),
        (["right", "right"], [60, 40, 0]),
        (["center", "center"], [30, 20, 0]),
        (["right", "left"], [20, 0, 0]),
    ],
)
def test_stacked_images_are_aligned_with_all_above(aligns: Sequence[Align], lefts: Sequence[int]) -> None:
    pixels = np.asarray(stacked([page(40, 10), page(60, 10), page(100, 10)], aligns))[:, :, 0]
    assert pixels.shape == (30, 100)
    assert [int(row.argmin()) for row in pixels[::10]] == lefts


def test_a_formula_is_trimmed_to_its_ink() -> None:
    image = Image.new("RGB", (200, 100), WHITE)
    draw = ImageDraw.Draw(image)
    draw.rectangle((60, 40, 89, 59), fill=BLACK)
    draw.rectangle((50, 50, 60, 50), fill=(190, 190, 190))  # thin strokes are grey
    draw.rectangle((20, 20, 25, 20), fill=(230, 230, 230))  # noise is lighter
    assert crop(image, block("display_formula", 0, 0, 200, 100), MAX_ASPECT).size == (40, 20)
    assert crop(image, block("text", 0, 0, 200, 100), MAX_ASPECT).size == (200, 100)


def test_an_image_without_ink_or_with_a_speck_is_not_trimmed() -> None:
    image = Image.new("RGB", (200, 100), WHITE)
    assert trimmed(image).size == (200, 100)
    image.putpixel((7, 7), BLACK)
    assert trimmed(image).size == (200, 100)


@pytest.mark.parametrize(("size", "cut"), [((400, 300), (800, 600)), ((1500, 300), (1500, 300))])
def test_a_small_image_is_doubled_for_spotting(size: tuple[int, int], cut: tuple[int, int]) -> None:
    assert crop(page(*size), block("spotting", 0, 0, *size), MAX_ASPECT).size == cut


@pytest.mark.parametrize("size", [(3000, 6), (6, 3000), (1201, 6), (1, 201)])
def test_a_block_of_a_shape_that_the_model_refuses_is_padded(size: tuple[int, int]) -> None:
    settings, bounds = ImageSettings(PixelBounds(112896, 1003520)), PixelBounds(112896, 1003520)
    with pytest.raises(ValueError, match="cannot be read"):
        settings.grid(*size, bounds)
    image = padded(page(*size), MAX_ASPECT)
    settings.grid(*image.size, bounds)
    assert int((np.asarray(image)[:, :, 0] == 0).sum()) == size[0] * size[1]


def test_a_block_of_another_shape_is_not_padded() -> None:
    assert padded(page(1200, 6), MAX_ASPECT).size == (1200, 6)


def table(*figure: int) -> Block:
    held = Figure("[F2]", Detection("image", 0.9, Box(*figure), 1))
    return replace(block("table", 10, 20, 310, 220), figures=(held,))


def test_a_figure_in_a_table_is_painted_over_with_its_token() -> None:
    pixels = np.asarray(crop(page(), table(60, 50, 160, 90), MAX_ASPECT))[:, :, 0]
    figure = pixels[30:71, 50:151]
    assert set(pixels[:30].flat) == set(pixels[:, :50].flat) == {0}
    assert {figure[0, 0], figure[-1, -1]} == {255}
    rows, columns = np.nonzero(figure < 128)
    assert 20 < columns.max() - columns.min() <= 36  # 0.9 of the shorter side, in the middle
    assert abs(columns.max() + columns.min() - 100) <= 4
    assert abs(rows.max() + rows.min() - 40) <= 8


def test_the_image_of_a_figure_in_a_table_is_kept_by_its_token() -> None:
    image = page()
    image.putpixel((60, 50), WHITE)
    (figure,) = figures_of(image, table(60, 50, 160, 90)).items()
    assert (figure[0], figure[1].size, figure[1].getpixel((0, 0))) == ("[F2]", (100, 40), WHITE)
