"""Content ids of prompts: equal prefixes are equal input, including images."""

from pathlib import Path

import numpy as np
import pytest

from models.paddleocr_vl.processor import PaddleOCRVLInput, Processor, content_ids, image_key
from tests.prompts import noise_image, prompt

IMAGE = 9  # a token id
A, B, SMALL = noise_image(120, 90, seed=1), noise_image(120, 90, seed=2), noise_image(56, 28, seed=3)


@pytest.fixture(scope="module")
def processor(checkpoint: Path) -> Processor:
    return Processor(checkpoint)


def image_ids_of(model_input: PaddleOCRVLInput, processor: Processor) -> list[list[int]]:
    """Content ids of each image's tokens."""
    ids = model_input.content_ids[np.array(model_input.input_ids) == processor.image_token_id]
    return [part.tolist() for part in np.split(ids, np.cumsum(model_input.image_tokens)[:-1])]


def test_text_tokens_are_their_own_content_ids(processor: Processor) -> None:
    model_input = processor.prepare(prompt(0, "Hello"), [])
    assert model_input.content_ids.tolist() == model_input.input_ids
    assert (model_input.image_keys, model_input.image_tokens) == ([], [])


def test_an_image_has_the_same_ids_at_any_position(processor: Processor) -> None:
    alone, second = processor.prepare(prompt(1), [A]), processor.prepare(prompt(2), [SMALL, A])
    assert second.image_keys[1] == alone.image_keys[0]
    assert image_ids_of(second, processor)[1] == image_ids_of(alone, processor)[0]
    assert second.image_keys[0] != alone.image_keys[0]


def test_image_ids_differ_from_text_and_from_other_images(processor: Processor) -> None:
    a, b = image_ids_of(processor.prepare(prompt(2), [A, B]), processor)
    assert len(a) == len(b) == 12
    assert len({*a, *b}) == 24
    assert max(*a, *b) < 0


def test_one_different_pixel_makes_another_image(processor: Processor) -> None:
    touched = A.copy()
    touched.putpixel((119, 89), (0, 0, 0))
    a, b = (processor.prepare(prompt(1), [image]) for image in (A, touched))
    assert a.image_keys != b.image_keys
    assert image_ids_of(a, processor)[0][0] != image_ids_of(b, processor)[0][0]


def test_the_same_patches_in_another_shape_are_another_image() -> None:
    pixels = np.zeros((24, 3, 14, 14), dtype=np.float32)
    assert image_key(pixels, (4, 6)) != image_key(pixels, (6, 4))


def test_the_whole_key_counts() -> None:
    keys = [bytes(32), bytes(31) + b"\1"]
    first, second = (content_ids([5, *[IMAGE] * 4, 6], IMAGE, [key], [4]) for key in keys)
    assert np.flatnonzero(first != second).tolist() == [4]


def test_an_image_of_one_token_has_one_id() -> None:
    assert content_ids([IMAGE], IMAGE, [b"\xff" * 32], [1]).tolist() == [-1]
