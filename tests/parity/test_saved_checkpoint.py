"""A checkpoint as transformers 5 saves it, with one file of settings for the whole processor."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import describe
from models.paddleocr_vl.images import ImageSettings
from models.protocol import PixelBounds
from tests.checkpoints import write_checkpoint
from tests.parity.pair import (
    SMALLEST,
    Pair,
    largest_difference,
    load_pair,
    load_reference,
    load_reference_processor,
    our_logits,
    reference_logits,
)
from tests.prompts import noise_image, prompt


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved from the hub's layout by transformers' own model and processor."""
    source = write_checkpoint(tmp_path_factory.mktemp("source"), min_pixels=SMALLEST)
    folder = tmp_path_factory.mktemp("saved")
    load_reference(source).save_pretrained(folder)
    load_reference_processor(source).save_pretrained(folder)
    assert not (folder / "preprocessor_config.json").exists()
    return folder


@pytest.fixture(scope="module")
def saved_pair(saved: Path) -> Pair:
    return load_pair(saved)


def test_pixels_and_prompt_ids(saved_pair: Pair) -> None:
    """Bug: such a checkpoint was imported, then the server could not start."""
    image = noise_image(200, 90)
    ours = saved_pair.processor.prepare(prompt(1), [image])
    message = [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "OCR:"}]}]
    reference = saved_pair.reference_processor.apply_chat_template(
        message, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert ours.input_ids == reference["input_ids"][0].tolist()
    assert [[1, *grid] for grid in ours.grids] == reference["image_grid_thw"].tolist()
    np.testing.assert_array_equal(ours.pixels, reference["pixel_values"].numpy())


def test_logits(saved_pair: Pair) -> None:
    model_input = saved_pair.processor.prepare(prompt(1), [noise_image(84, 56)])
    with torch.inference_mode():
        ours = our_logits(saved_pair.ours, model_input)
        theirs = reference_logits(saved_pair.reference, model_input)
    assert largest_difference(ours, theirs) < 1e-3


def test_its_description_has_every_file_that_serving_reads(saved: Path) -> None:
    needed = {"config.json", "chat_template.jinja", "processor_config.json", "tokenizer.json", "model.safetensors"}
    assert needed <= {file.name for file in describe(saved).files}


def test_settings_that_the_processor_saved_count_more_than_those_of_a_release(saved: Path, tmp_path: Path) -> None:
    """Bug: the two files were preferred the other way round, so that images had other sizes than in transformers."""
    folder = tmp_path / "both"
    shutil.copytree(saved, folder)
    settings = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    settings["size"] = {"shortest_edge": 147_384, "longest_edge": 2_822_400}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    theirs = load_reference_processor(folder).image_processor.size
    assert ImageSettings.read(folder).bounds == PixelBounds(theirs["shortest_edge"], theirs["longest_edge"])
    assert ImageSettings.read(folder).bounds == PixelBounds(SMALLEST, 1_003_520)
