"""Pages turned upright and flattened: the networks, their folders, and both in a real engine."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops

from engine.engine import Engine
from engine.errors import InvalidRequest
from engine.looking import Upright
from models.layout.loading import LayoutError
from models.layout.orientation import OrientationImageSettings, load_orientation
from models.layout.unwarping import load_unwarping
from tests.engines import running_engine
from tests.layouts import say, write_layout_checkpoint, write_orientation_checkpoint, write_unwarping_checkpoint
from tests.prompts import noise_image

CPU = torch.device("cpu")
PAGE = noise_image(120, 90)


@pytest.fixture(scope="module")
def reader(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("networks")
    folders = {
        "layout": write_layout_checkpoint(folder / "layout", "pp_doclayout_v4"),
        "orientation": write_orientation_checkpoint(folder / "orientation"),
        "unwarping": write_unwarping_checkpoint(folder / "unwarping"),
    }
    with running_engine(checkpoint, **folders) as engine:
        yield engine


def upright(engine: Engine, *, orient: bool = False, unwarp: bool = False) -> Upright:
    async def run() -> Upright:
        hold = engine.hold()
        try:
            (page,) = await engine.upright([PAGE], orient=orient, unwarp=unwarp, hold=hold)
            return page
        finally:
            hold.release()

    return asyncio.run(run())


@pytest.mark.parametrize(("degrees", "corner"), [(0, (0, 0)), (90, (0, 119)), (180, (119, 89)), (270, (89, 0))])
def test_a_page_is_turned_counter_clockwise_by_what_the_network_says(
    reader: Engine, degrees: int, corner: tuple[int, int]
) -> None:
    """`corner`: where the page's top left pixel is afterwards."""
    say(reader, degrees)
    found = upright(reader, orient=True)
    assert found.angle == degrees
    assert found.image.getpixel(corner) == PAGE.getpixel((0, 0))


def test_a_page_is_flattened_after_it_was_turned(reader: Engine) -> None:
    say(reader, 90)
    found = upright(reader, orient=True, unwarp=True)
    assert found.image.size == (90, 120)
    assert ImageChops.difference(found.image, PAGE.transpose(Image.Transpose.ROTATE_90)).getbbox()


def test_without_either_a_page_stays_as_it_is(reader: Engine) -> None:
    assert upright(reader) == Upright(PAGE, 0)


def test_the_engine_tells_what_it_can_do_to_pages(reader: Engine) -> None:
    assert reader.layout is not None
    assert reader.layout.orients
    assert reader.layout.unwarps


@pytest.mark.parametrize("wanted", ["orient", "unwarp"])
def test_what_is_not_loaded_is_refused(wanted: str, engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="this server has no model"):
        upright(engine, **{wanted: True})


def test_a_mesh_that_moves_nothing_leaves_the_page(tmp_path: Path) -> None:
    network = load_unwarping(write_unwarping_checkpoint(tmp_path), CPU)
    mesh = torch.nn.functional.affine_grid(torch.eye(2, 3)[None], [1, 1, 90, 120], align_corners=True)
    difference = ImageChops.difference(network.flat(mesh.permute(0, 3, 1, 2), PAGE), PAGE)
    assert np.asarray(difference).max() <= 1


def test_labels_that_are_no_orientations_are_refused(tmp_path: Path) -> None:
    config = write_orientation_checkpoint(tmp_path) / "config.json"
    labels = {"id2label": {"0": "up", "1": "down", "2": "left", "3": "right"}}
    config.write_text(json.dumps(json.loads(config.read_text()) | labels))
    with pytest.raises(LayoutError, match="labels up, down"):
        load_orientation(tmp_path, CPU)


@pytest.mark.parametrize("network", ["orientation", "unwarping"])
def test_an_output_that_is_not_finite_is_an_error(network: str, tmp_path: Path) -> None:
    if network == "orientation":
        loaded = load_orientation(write_orientation_checkpoint(tmp_path), CPU)
        loaded.network.head.bias.fill_(torch.nan)
    else:
        loaded = load_unwarping(write_unwarping_checkpoint(tmp_path), CPU)  # type: ignore[assignment]
        loaded.network.head.out_point_positions2D.conv_up.bias.fill_(torch.nan)
    with torch.inference_mode(), pytest.raises(LayoutError, match="not finite"):
        list(loaded.run_sliced(loaded.prepare(PAGE), [0.0]))


@pytest.mark.parametrize(
    "settings", [{"resample": 3}, {"do_normalize": False}, {"crop_size": {"height": 1, "width": 2}}]
)
def test_settings_for_orientation_that_change_the_preparation_are_refused(
    settings: dict[str, object], tmp_path: Path
) -> None:
    file = write_orientation_checkpoint(tmp_path) / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    with pytest.raises(LayoutError, match=next(iter(settings))):
        load_orientation(tmp_path, CPU)


@pytest.mark.parametrize("settings", [{"do_normalize": True}, {"size": {"shortest_edge": 96}}])
def test_settings_for_unwarping_that_change_the_preparation_are_refused(
    settings: dict[str, object], tmp_path: Path
) -> None:
    file = write_unwarping_checkpoint(tmp_path) / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    with pytest.raises(LayoutError, match=next(iter(settings))):
        load_unwarping(tmp_path, CPU)


@pytest.mark.parametrize("size", [(2, 4_000_000), (4_000_000, 2)])
def test_a_strip_is_prepared_from_its_middle(size: tuple[int, int]) -> None:
    """Bug: it was resized as a whole, to hundreds of gigabytes."""
    pixels = OrientationImageSettings().prepare(Image.new("RGB", size, "white"))
    assert pixels.shape == (1, 3, 224, 224)
