"""Checkpoints of every kind, described for the store by their config, files and tensors."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.checkpoint import (
    IncompleteCheckpointError,
    NotACheckpointError,
    describe,
)
from tests.layouts import CONFIGS, LABELS, write_layout_checkpoint

ORIENTATIONS = {"0": "0", "1": "90", "2": "180", "3": "270"}


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout_checkpoint(tmp_path / "layout", "pp_doclayout_v3")


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of a checkpoint with this config and a head of four values."""

    def small(**config: object) -> Path:
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "preprocessor_config.json").write_text("{}")
        save_file({"head.bias": np.zeros(4, np.float32)}, tmp_path / "model.safetensors")
        return tmp_path

    return small


def change(folder: Path, **config: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | config))


@pytest.mark.parametrize("model_type", CONFIGS)
def test_a_layout_checkpoint_is_described_with_the_labels_of_its_config(model_type: str, tmp_path: Path) -> None:
    metadata = describe(write_layout_checkpoint(tmp_path / "layout", model_type)).metadata
    assert (metadata["kind"], metadata["labels"]) == ("layout", list(LABELS.values()))
    assert set(metadata["files"]) == {"config.json", "preprocessor_config.json", "model.safetensors"}


def test_step_counts_of_batch_norm_are_no_parameters(layout: Path) -> None:
    tensors = load_file(layout / "model.safetensors")
    counts = [name for name in tensors if name.endswith("num_batches_tracked")]
    metadata = describe(layout).metadata
    assert counts
    assert metadata["dtype"] == "float32"
    assert metadata["parameters"] == sum(tensor.size for name, tensor in tensors.items() if name not in counts)


def test_two_ids_may_have_one_label(layout: Path) -> None:
    change(layout, id2label={"0": "text", "1": "formula", "2": "formula"})
    assert describe(layout).metadata["labels"] == ["text", "formula", "formula"]


def test_an_orientation_checkpoint_is_described_with_its_angles(small: Callable[..., Path]) -> None:
    metadata = describe(small(model_type="pp_lcnet", id2label=ORIENTATIONS)).metadata
    assert (metadata["kind"], metadata["labels"]) == ("orientation", ["0", "90", "180", "270"])


def test_an_unwarping_checkpoint_needs_no_labels(small: Callable[..., Path]) -> None:
    metadata = describe(small(model_type="uvdoc")).metadata
    assert (metadata["kind"], metadata["labels"]) == ("unwarping", [])


@pytest.mark.parametrize(
    "labels", [None, {}, {"1": "text", "2": "table", "3": "title"}, {"0": "text", "1": ""}, ["text"]]
)
def test_a_layout_checkpoint_without_a_label_for_each_id_is_refused(layout: Path, labels: object) -> None:
    change(layout, id2label=labels)
    with pytest.raises(IncompleteCheckpointError, match=r"names no labels\. Its id2label must have a name for each id"):
        describe(layout)


def test_labels_that_the_weights_do_not_have_are_refused(layout: Path) -> None:
    change(layout, id2label={"0": "text", "1": "table"})
    with pytest.raises(IncompleteCheckpointError, match="names 2 labels, and the weights have 3"):
        describe(layout)


def test_a_classifier_of_something_else_is_no_orientation_checkpoint(small: Callable[..., Path]) -> None:
    folder = small(model_type="pp_lcnet", id2label={"0": "0_degree", "1": "180_degree"})
    with pytest.raises(NotACheckpointError, match=r"tells 0_degree, 180_degree apart\. Not the orientations of a page"):
        describe(folder)


def test_a_layout_checkpoint_without_image_settings_is_refused(layout: Path) -> None:
    (layout / "preprocessor_config.json").unlink()
    with pytest.raises(IncompleteCheckpointError, match=r"lacks preprocessor_config\.json or processor_config\.json"):
        describe(layout)


def test_a_repository_in_paddles_own_format_is_told_from_its_twin(small: Callable[..., Path]) -> None:
    with pytest.raises(NotACheckpointError, match=r"PaddlePaddle's own format has none: take .* _safetensors"):
        describe(small(Global={"model_name": "PP-DocLayoutV3"}))
