"""Checkpoint folders read by `weights.load_model`: equal to transformers' result, or refused with a reason."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.processor import Processor
from models.paddleocr_vl.weights import CheckpointError, load_model, save_model
from tests.checkpoints import Layout, write_checkpoint
from tests.parity.pair import SMALLEST, Pair, largest_difference, load_pair, our_logits, reference_logits
from tests.prompts import noise_image, prompt

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def load(folder: Path) -> PaddleOCRVL:
    return load_model(folder, Processor(folder).config, torch.device("cpu"), torch.float32)


def assert_pair_agrees(pair: Pair) -> None:
    model_input = pair.processor.prepare(prompt(1), [noise_image(84, 56)])
    ours, theirs = our_logits(pair.ours, model_input), reference_logits(pair.reference, model_input)
    assert largest_difference(ours, theirs) < 1e-4


def assert_same_parameters(ours: PaddleOCRVL, others: PaddleOCRVL) -> None:
    for (name, parameter), other in zip(ours.named_parameters(), others.parameters(), strict=True):
        assert torch.equal(parameter, other), name


def change(folder: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    """Rewrite the weights of `folder`, changed by `edit`."""
    tensors = load_file(folder / WEIGHTS)
    edit(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def shard(folder: Path) -> None:
    """Split the weights of `folder` into two files with an index."""
    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    weight_map = {name: file for file, part in parts.items() for name in part}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / WEIGHTS).unlink()


@pytest.mark.parametrize("layout", ["hub", "transformers"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_layouts_load_as_transformers_loads_them(tmp_path: Path, layout: Layout, tied: bool) -> None:
    pair = load_pair(write_checkpoint(tmp_path, layout, tied, seed=1, min_pixels=SMALLEST))
    assert (pair.ours.lm_head.weight is pair.ours.text.embed_tokens.weight) == tied
    assert_pair_agrees(pair)


def test_both_layouts_give_the_same_parameters(tmp_path: Path) -> None:
    hub, transformers = (
        load(write_checkpoint(tmp_path / "hub", "hub")),
        load(write_checkpoint(tmp_path / "transformers", "transformers")),
    )
    assert_same_parameters(hub, transformers)


def test_what_transformers_saves_loads(pair: Pair, tmp_path: Path) -> None:
    pair.reference.save_pretrained(tmp_path)
    config = pair.reference.config
    saved = load_model(tmp_path, config, torch.device("cpu"), torch.float32)
    assert_same_parameters(saved, pair.ours)


def test_what_we_save_loads_in_transformers(pair: Pair, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, seed=2, min_pixels=SMALLEST)
    save_model(pair.ours, tmp_path / WEIGHTS, torch.float32)
    saved = load_pair(tmp_path)
    assert_same_parameters(saved.ours, pair.ours)
    assert_pair_agrees(saved)


def test_sharded_checkpoint_loads(tmp_path: Path) -> None:
    whole = load(write_checkpoint(tmp_path))
    shard(tmp_path)
    assert_same_parameters(load(tmp_path), whole)


def test_absent_shard_is_named(tmp_path: Path) -> None:
    shard(write_checkpoint(tmp_path))
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model-00002-of-00002"):
        load(tmp_path)


def test_absent_weights_are_named(tmp_path: Path) -> None:
    (write_checkpoint(tmp_path) / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=WEIGHTS):
        load(tmp_path)


@pytest.mark.parametrize("index", ["{", "{}", '{"weight_map": []}'], ids=["cut off", "without a map", "map is a list"])
def test_broken_index_is_a_checkpoint_error(tmp_path: Path, index: str) -> None:
    (write_checkpoint(tmp_path) / INDEX).write_text(index)
    with pytest.raises(CheckpointError, match=INDEX):
        load(tmp_path)


def test_missing_tensor_is_named(tmp_path: Path) -> None:
    change(write_checkpoint(tmp_path), lambda tensors: tensors.pop("model.layers.1.self_attn.k_proj.weight"))
    with pytest.raises(CheckpointError, match=r"1 missing: .*layers\.1\.self_attn\.k_proj\.weight"):
        load(tmp_path)


def test_unknown_tensor_is_named(tmp_path: Path) -> None:
    change(write_checkpoint(tmp_path), lambda tensors: tensors.update({"model.layers.3.surprise": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match=r"1 unknown: model\.layers\.3\.surprise"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("mlp_AR.linear_2.weight", (64, 287), r"\[64, 287\], not \[64, 288\]"),
        ("model.layers.0.self_attn.v_proj.weight", (64, 64), r"\[64, 64\], not \[32, 64\]"),  # would overlap q or k
        ("visual.vision_model.embeddings.patch_embedding.weight", (72, 588), r"\[72, 588\], not \[72, 3, 14, 14\]"),
        ("lm_head.weight", (375, 64), r"\[375, 64\], not \[376, 64\]"),
    ],
)
def test_misshapen_tensor_is_named(tmp_path: Path, name: str, shape: tuple[int, ...], expected: str) -> None:
    change(write_checkpoint(tmp_path), lambda tensors: tensors.update({name: torch.zeros(shape)}))
    with pytest.raises(CheckpointError, match=f"1 misshapen: {name} is {expected}"):
        load(tmp_path)


@pytest.mark.parametrize("size", [0, 5, 1000, 100_000])
def test_truncated_file_is_a_checkpoint_error(tmp_path: Path, size: int) -> None:
    file = write_checkpoint(tmp_path) / WEIGHTS
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_casts_the_weights_and_nothing_else(pair: Pair, dtype: torch.dtype) -> None:
    """Frequencies in half precision would be wrong by whole radians at long positions."""
    half = load_model(pair.folder, pair.processor.config, torch.device("cpu"), dtype)
    assert {parameter.dtype for parameter in half.parameters()} == {dtype}
    for (name, parameter), whole in zip(half.named_parameters(), pair.ours.parameters(), strict=True):
        assert torch.equal(parameter, whole.to(dtype)), name
    assert torch.equal(half.text.inv_freq, pair.ours.text.inv_freq)
    assert torch.get_default_dtype() == torch.float32
