"""Prompts, positions and pixels against transformers' own processor, and the inputs that the processor refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models.paddleocr_vl.images import BLOCK_KEYS, ImageSettings
from models.paddleocr_vl.processor import Message, PaddleOCRVLInput, Processor
from models.protocol import WHOLE_BLOCKS, BlockLimits, InputError, PixelBounds
from tests.checkpoints import write_settings
from tests.parity.pair import Pair, load_reference_processor
from tests.prompts import noise_image, prompt

CONVERSATION: list[Message] = [
    {"role": "system", "content": [{"type": "text", "text": "Read with care."}]},
    *prompt(1, "OCR:"),
    {"role": "assistant", "content": [{"type": "text", "text": "12.50 €"}]},
    *prompt(2, "Compare the three.\nBriefly!"),
]
CASES = {
    "one image": (prompt(1), [(200, 90)]),
    "two images": (prompt(2, "Table Recognition:"), [(60, 300), (28, 28)]),
    "text only": (prompt(0, "Hello  you,\n\tthere"), []),
    "conversation": (CONVERSATION, [(56, 84), (140, 28), (30, 30)]),
}


def both(pair: Pair, messages: list[Message], sizes: list[tuple[int, int]]) -> tuple[PaddleOCRVLInput, Any]:
    """Our model input and the reference's for the same messages."""
    images = [noise_image(*size, seed=seed) for seed, size in enumerate(sizes)]
    left = iter(images)
    theirs = [
        message
        | {
            "content": [
                part | {"image": next(left)} if part["type"] == "image" else part for part in message["content"]
            ]
        }
        for message in messages
    ]
    reference = pair.reference_processor.apply_chat_template(
        theirs, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    return pair.processor.prepare(messages, images), reference


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, pair: Pair) -> tuple[PaddleOCRVLInput, Any]:
    return both(pair, *CASES[request.param])


def test_prompt_ids(case: tuple[PaddleOCRVLInput, Any]) -> None:
    ours, reference = case
    assert ours.input_ids == reference["input_ids"][0].tolist()


def test_positions(case: tuple[PaddleOCRVLInput, Any], pair: Pair) -> None:
    ours, reference = case
    positions, delta = pair.reference.model.get_rope_index(
        reference["input_ids"],
        mm_token_type_ids=reference["mm_token_type_ids"],
        image_grid_thw=reference.get("image_grid_thw"),
    )
    assert torch.equal(ours.positions, positions[:, 0])
    assert ours.next_position == len(ours.input_ids) + delta.item()


def test_pixels_and_grids(case: tuple[PaddleOCRVLInput, Any]) -> None:
    ours, reference = case
    if ours.pixels is None:
        assert "pixel_values" not in reference
        assert ours.grids == []
    else:
        np.testing.assert_array_equal(ours.pixels, reference["pixel_values"].numpy())
        assert [[1, *grid] for grid in ours.grids] == reference["image_grid_thw"].tolist()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_pixels_of_other_image_modes(pair: Pair, mode: str) -> None:
    image = noise_image(84, 56).convert("L" if mode == "I;16" else "RGB").convert(mode)
    ours, _ = pair.processor.pixels([image])
    theirs = pair.reference_processor.image_processor(images=[image], return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("size", [(1, 1), (3, 90), (28, 28), (300, 200), (1000, 1000), (4000, 3000), (2000, 11)])
def test_grid_at_the_released_pixel_limits(tmp_path: Path, size: tuple[int, int]) -> None:
    write_settings(tmp_path)
    ours, reference = Processor(tmp_path), load_reference_processor(tmp_path)
    image = Image.new("RGB", size)
    theirs = reference.image_processor(images=[image], return_tensors="np")["image_grid_thw"]
    assert [[1, *ours.grid(*size)]] == theirs.tolist()


def test_grid_with_a_higher_minimum(pair: Pair) -> None:
    rows, columns = pair.processor.grid(60, 60, PixelBounds(112_896, 1_003_520))
    assert rows * columns * 14**2 >= 112_896


@pytest.mark.parametrize("size", [(5700, 28), (28, 5700)])
def test_extreme_aspect_ratio_is_refused(pair: Pair, size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"{size[0]} x {size[1]}"):
        pair.processor.prepare(prompt(1), [Image.new("RGB", size)])


@pytest.mark.parametrize(("placeholders", "images"), [(0, 1), (1, 0), (2, 1), (1, 2)])
def test_images_must_match_their_placeholders(pair: Pair, placeholders: int, images: int) -> None:
    with pytest.raises(InputError):
        pair.processor.prepare(prompt(placeholders), [noise_image(28, 28)] * images)


def test_settings_that_would_be_ignored_are_refused(tmp_path: Path) -> None:
    write_settings(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"do_normalize": False}))
    with pytest.raises(ValueError, match="do_normalize is False; only True"):
        Processor(tmp_path)


def test_bounds_are_found_under_each_name_that_releases_use(tmp_path: Path) -> None:
    write_settings(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    settings = {key: value for key, value in json.loads(file.read_text()).items() if not key.endswith("_pixels")}
    for size in ({"shortest_edge": 784, "longest_edge": 78400}, {"min_pixels": 784, "max_pixels": 78400}):
        file.write_text(json.dumps(settings | {"size": size}))
        assert ImageSettings.read(tmp_path).bounds == PixelBounds(784, 78400)


def test_a_checkpoint_says_how_it_reads_blocks_best(tmp_path: Path) -> None:
    write_settings(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    settings = json.loads(file.read_text())
    assert ImageSettings.read(tmp_path).block_limits == WHOLE_BLOCKS
    file.write_text(json.dumps(settings | {"max_lines": 3, "max_rows": None, "min_block_pixels": 784}))
    assert ImageSettings.read(tmp_path).block_limits == BlockLimits(lines=3, rows=None, min_pixels=784)


@pytest.mark.parametrize("count", [0, -1, 2.5, True, "3"])
@pytest.mark.parametrize("key", BLOCK_KEYS)
def test_a_limit_that_is_no_count_is_refused(tmp_path: Path, key: str, count: object) -> None:
    write_settings(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: count}))
    with pytest.raises(ValueError, match="it must be a whole number from 1 on, or null"):
        ImageSettings.read(tmp_path)
