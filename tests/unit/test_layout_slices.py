"""A layout network in slices: the same blocks, pauses on the way, and no thread left behind."""

import threading
from collections.abc import Iterator

import pytest
import torch
from PIL import Image
from torch import nn

from models.layout.network import CLASSES, LayoutNetwork, load_network
from models.layout.postprocess import choose
from models.layout.slices import forward_sliced
from models.paddleocr_vl.slices import run
from tests.layouts import write_layout_checkpoint
from tests.prompts import noise_image

CPU = torch.device("cpu")
PAGES = [noise_image(120, 90), noise_image(60, 200)]
THRESHOLD = 0.3


@pytest.fixture(scope="module", params=CLASSES)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LayoutNetwork:
    return load_network(write_layout_checkpoint(tmp_path_factory.mktemp("layout"), request.param), CPU)


@pytest.fixture
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def layout_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "layout"]


def prepared(network: LayoutNetwork) -> torch.Tensor:
    return torch.cat([network.prepare(page) for page in PAGES])


@pytest.mark.usefixtures("inference")
def test_blocks_are_those_of_the_whole_forward(network: LayoutNetwork) -> None:
    """V3's masks too, which the slices compute for chosen blocks alone."""
    outputs = network.network(pixel_values=prepared(network))
    whole = [network.detections(choose(outputs, page, THRESHOLD), image) for page, image in enumerate(PAGES)]
    assert all(whole)
    assert network.find(PAGES, THRESHOLD) == whole


@pytest.mark.usefixtures("inference")
def test_a_forward_has_as_many_pauses_as_layers(network: LayoutNetwork) -> None:
    layers = [layer for layer in network.network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    slices = sum(1 for _ in network.run_sliced(prepared(network), [THRESHOLD] * 2))
    assert slices > 0.8 * len(layers)  # some layers belong to training alone


def test_blocks_can_be_read_in_a_thread_without_inference_mode(network: LayoutNetwork) -> None:
    with torch.inference_mode():
        found = run(network.run_sliced(prepared(network), [THRESHOLD] * 2))
    blocks = [network.detections(one, page) for one, page in zip(found, PAGES, strict=True)]
    assert blocks == network.find(PAGES, THRESHOLD)


@pytest.mark.usefixtures("inference")
def test_each_page_has_its_own_threshold(network: LayoutNetwork) -> None:
    few, many = run(network.run_sliced(torch.cat([network.prepare(PAGES[0])] * 2), [1.0, THRESHOLD]))
    assert len(few.scores) == 0 < len(many.scores)


@pytest.mark.usefixtures("inference")
def test_work_that_is_closed_leaves_no_thread(network: LayoutNetwork) -> None:
    work = network.run_sliced(prepared(network), [THRESHOLD] * 2)
    for _ in range(3):
        next(work)
    assert layout_threads()
    work.close()
    assert not layout_threads()
    assert network.find(PAGES, THRESHOLD)[0]  # no hook of the closed work pauses it


@pytest.mark.usefixtures("inference")
def test_work_that_is_forgotten_leaves_no_thread(network: LayoutNetwork) -> None:
    work = network.run_sliced(prepared(network), [THRESHOLD] * 2)
    next(work)
    del work
    assert not layout_threads()


def test_an_error_of_the_forward_arrives_with_its_place() -> None:
    def broken() -> None:
        layer(torch.ones(2))
        raise RuntimeError("no memory")

    layer = nn.Linear(2, 2)
    work = forward_sliced(layer, broken, CPU)
    next(work)
    with pytest.raises(RuntimeError, match="no memory") as raised:
        next(work)
    assert raised.traceback[-1].name == "broken"
    assert not layout_threads()


def test_two_forwards_of_one_network_pause_each_on_its_own() -> None:
    layer = nn.Linear(2, 2)
    works = [forward_sliced(layer, lambda: layer(layer(torch.ones(2))).sum(), CPU) for _ in range(2)]
    for work in works:
        next(work)
    first, second = (run(work) for work in works)
    assert torch.equal(first, second)


def test_a_forward_runs_in_inference_mode() -> None:
    assert run(forward_sliced(nn.Linear(1, 1), torch.is_inference_mode_enabled, CPU))


def test_a_page_of_another_mode_is_prepared_as_rgb(network: LayoutNetwork) -> None:
    assert network.prepare(Image.new("L", (9, 7))).shape[:2] == (1, 3)
