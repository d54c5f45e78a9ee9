"""Logits of whole prompts against transformers."""

from pathlib import Path

import pytest
from PIL import Image

from tests.checkpoints import write_checkpoint
from tests.parity.pair import SMALLEST, Pair, largest_difference, load_pair, our_logits, reference_logits
from tests.prompts import noise_image, prompt

SIZES = [(28, 28), (84, 56), (56, 84), (400, 28), (28, 400), (320, 240)]


def assert_same_logits(pair: Pair, images: list[Image.Image], text: str) -> None:
    """Logits of all tokens, including the last one."""
    model_input = pair.processor.prepare(prompt(len(images), text), images)
    theirs = reference_logits(pair.reference, model_input)
    assert theirs.std() > 0.5  # equal logits would prove nothing
    assert largest_difference(our_logits(pair.ours, model_input), theirs) < 1e-4


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_one_image(pair: Pair, width: int, height: int) -> None:
    assert_same_logits(pair, [noise_image(width, height)], "OCR:")


def test_two_images_in_one_prompt(pair: Pair) -> None:
    assert_same_logits(pair, [noise_image(140, 56), noise_image(84, 112, seed=1)], "Which is the older one?")


def test_text_only(pair: Pair) -> None:
    assert_same_logits(pair, [], "Nothing to see here.")


def test_real_vocabulary_and_token_ids(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, real_tokenizer=True, min_pixels=SMALLEST)
    assert_same_logits(load_pair(folder), [noise_image(84, 56)], "Table Recognition: 文字识别")


def test_an_image_changes_the_answer(pair: Pair) -> None:
    """Guards the tests above: features dropped by both sides would compare equal."""
    one, other = (pair.processor.prepare(prompt(1), [noise_image(84, 56, seed=seed)]) for seed in (0, 1))
    assert largest_difference(our_logits(pair.ours, one)[-1], our_logits(pair.ours, other)[-1]) > 0.01
