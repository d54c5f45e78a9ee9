"""Vision tower and projector against transformers."""

import pytest
import torch
from PIL import Image

from models.paddleocr_vl.slices import run
from tests.parity.pair import Pair, grids_thw, largest_difference
from tests.prompts import noise_image

SIZES = [(28, 28), (20, 20), (126, 126), (140, 56), (56, 140), (500, 30), (30, 500), (333, 257)]


def difference(pair: Pair, images: list[Image.Image]) -> float:
    pixels, grids = pair.processor.pixels(images)
    ours = pair.ours.encode(torch.from_numpy(pixels), grids)
    theirs = pair.reference.get_image_features(torch.from_numpy(pixels), grids_thw(grids)).pooler_output
    assert len(ours) == len(theirs) == len(images)
    return max(largest_difference(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_features_of_one_image(pair: Pair, width: int, height: int) -> None:
    assert difference(pair, [noise_image(width, height)]) < 1e-4


def test_features_of_a_mixed_batch(pair: Pair) -> None:
    assert difference(pair, [noise_image(*size, seed=seed) for seed, size in enumerate(SIZES)]) < 1e-4


def test_features_of_equal_neighbours_between_others(pair: Pair) -> None:
    """Neighbours of one length run in one call; equal length does not mean equal shape."""
    sizes = [(56, 56), (140, 56), (56, 140), (140, 56), (28, 28)]
    assert difference(pair, [noise_image(*size, seed=seed) for seed, size in enumerate(sizes)]) < 1e-4


def test_features_do_not_depend_on_the_batch(pair: Pair) -> None:
    images = [noise_image(140, 84, seed=1), noise_image(56, 196, seed=2)]
    pixels, grids = pair.processor.pixels(images)
    together = pair.ours.encode(torch.from_numpy(pixels), grids)
    for features, image in zip(together, images, strict=True):
        pixels, grids = pair.processor.pixels([image])
        (alone,) = pair.ours.encode(torch.from_numpy(pixels), grids)
        assert largest_difference(features, alone) < 1e-5


@pytest.mark.parametrize("rows", [5, 64])
def test_features_do_not_depend_on_the_slices(pair: Pair, rows: int) -> None:
    pixels, grids = pair.processor.pixels(
        [noise_image(140, 84, seed=1), noise_image(140, 84, seed=2), noise_image(56, 196)]
    )
    whole = pair.ours.encode(torch.from_numpy(pixels), grids)
    sliced = run(pair.ours.encode_sliced(torch.from_numpy(pixels), grids, rows))
    assert max(largest_difference(a, b) for a, b in zip(whole, sliced, strict=True)) < 1e-5
