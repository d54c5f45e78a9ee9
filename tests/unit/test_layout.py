"""Layout networks: folders that cannot be loaded, settings that are not supported, order and outlines."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from models.checkpoint import StoreError
from models.layout.images import LayoutImageSettings
from models.layout.loading import LayoutError
from models.layout.network import load_network
from models.layout.order import successor_ranks, voted_ranks
from models.layout.polygons import outlines
from tests.layouts import LABELS, write_layout_checkpoint

CPU = torch.device("cpu")


def test_labels_are_those_of_the_config(tmp_path: Path) -> None:
    network = load_network(write_layout_checkpoint(tmp_path, "pp_doclayout_v3"), CPU)
    assert network.labels == LABELS


def test_no_pages_have_no_blocks(tmp_path: Path) -> None:
    network = load_network(write_layout_checkpoint(tmp_path, "pp_doclayout_v3"), CPU)
    assert network.find([], 0.5) == []


def test_outputs_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    """Bug: no score that is not a number reaches a threshold, so the page seemed to be empty."""
    network = load_network(write_layout_checkpoint(tmp_path, "pp_doclayout_v3"), CPU)
    network.network.model.decoder.class_embed.bias.fill_(torch.nan)
    with pytest.raises(LayoutError, match="not finite"):
        network.find([Image.new("RGB", (60, 40))], 0.5)


@pytest.mark.parametrize("config", ['{"model_type": "rt_detr"}', "[]", "{"])
def test_a_folder_of_another_network_is_refused(config: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(LayoutError, match=r"config\.json"):
        load_network(tmp_path, CPU)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    """Bug: transformers gives it random values and says so in its log alone."""
    weights = write_layout_checkpoint(tmp_path, "pp_doclayout_v4") / "model.safetensors"
    tensors = load_file(weights)
    del tensors["model.enc_score_head.weight"]
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(LayoutError, match=r"enc_score_head\.weight"):
        load_network(tmp_path, CPU)


def test_a_tensor_of_another_shape_is_refused(tmp_path: Path) -> None:
    weights = write_layout_checkpoint(tmp_path, "pp_doclayout_v4") / "model.safetensors"
    tensors = load_file(weights)
    save_file(tensors | {"model.enc_score_head.bias": torch.zeros(7)}, weights, {"format": "pt"})
    with pytest.raises(LayoutError, match="cannot be loaded"):
        load_network(tmp_path, CPU)


def test_a_damaged_weights_file_is_refused(tmp_path: Path) -> None:
    (write_layout_checkpoint(tmp_path, "pp_doclayout_v4") / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(LayoutError, match="cannot be loaded"):
        load_network(tmp_path, CPU)


def test_a_folder_without_image_settings_is_refused(tmp_path: Path) -> None:
    (write_layout_checkpoint(tmp_path, "pp_doclayout_v4") / "preprocessor_config.json").unlink()
    with pytest.raises(StoreError, match="preprocessor_config"):
        load_network(tmp_path, CPU)


@pytest.mark.parametrize(
    "settings", [{"resample": 2}, {"do_resize": False}, {"do_pad": True}, {"size": {"shortest_edge": 800}}]
)
def test_image_settings_that_change_the_preparation_are_refused(settings: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=next(iter(settings))):
        LayoutImageSettings.read(tmp_path)


def test_image_settings_left_out_are_those_of_the_releases(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text('{"do_center_crop": false, "image_mean": null}')
    assert LayoutImageSettings.read(tmp_path) == LayoutImageSettings()


def test_votes_on_pairs_give_ranks() -> None:
    """Queries 2, 0, 1 in reading order. Only the upper triangle tells."""
    logits = torch.tensor([[[0.0, 9, -9], [0, 0, -9], [0, 0, 0]]])
    assert voted_ranks(logits).tolist() == [[1, 2, 0]]


def test_the_weakest_successor_of_a_cycle_gives_way() -> None:
    successor = np.array([[-9, 5, -9], [-9, -9, 4], [1, -9, -9]], dtype=np.float32)
    assert successor_ranks(np.zeros((3, 3), dtype=np.float32), successor).tolist() == [0, 1, 2]


def test_a_page_without_blocks_has_no_ranks() -> None:
    empty = np.zeros((0, 0), dtype=np.float32)
    assert successor_ranks(empty, empty).tolist() == []


def test_a_block_with_an_empty_mask_has_its_box_as_polygon() -> None:
    (polygon,) = outlines(np.zeros((1, 40, 40), dtype=bool), np.array([[10, 20, 50, 40]], dtype=np.float32), (1, 1))
    assert polygon.tolist() == [[10, 20], [50, 20], [50, 40], [10, 40]]


def test_a_mask_whose_points_are_all_lost_by_shrinking_gives_the_box() -> None:
    """Bug: transformers' processor gives None in the place of the polygon."""
    mask = np.zeros((1, 40, 40), dtype=bool)
    mask[0, 1, 1] = True
    (polygon,) = outlines(mask, np.array([[0, 0, 2, 2]], dtype=np.float32), (16, 16))
    assert polygon.tolist() == [[0, 0], [2, 0], [2, 2], [0, 2]]


@pytest.mark.parametrize("setting", ["class_thresholds", "class_order"])
def test_a_network_without_the_settings_of_its_order_is_refused(setting: str, tmp_path: Path) -> None:
    """Bug: it was loaded, and the first page ended in a TypeError."""
    config = write_layout_checkpoint(tmp_path, "pp_doclayout_v2") / "config.json"
    config.write_text(
        json.dumps({name: value for name, value in json.loads(config.read_text()).items() if name != setting})
    )
    with pytest.raises(LayoutError, match=setting):
        load_network(tmp_path, CPU)


def test_loading_writes_no_progress_bar(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Bug: every start of the server wrote `Loading weights: 100%` over several lines of its log."""
    logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    folder = write_layout_checkpoint(tmp_path, "pp_doclayout_v4")
    capfd.readouterr()
    load_network(folder, CPU)
    assert capfd.readouterr() == ("", "")
