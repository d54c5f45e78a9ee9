"""Encoding small images by graphs. Recordings stand in for graphs, and a CPU's operations for FlashAttention."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PaddleOCRVLConfig

from engine.cuda_graphs import MIN_BYTES
from engine.encode import MAX_IMAGES, Encode
from models.paddleocr_vl import attention
from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.slices import run
from models.paddleocr_vl.weights import load_model
from models.protocol import Grid
from tests.gpu_operations import variable_flash
from tests.recording import Recordings

CPU = torch.device("cpu")
PATCHES = (64, 256, 512)  # smaller graphs than on a GPU, and a smaller image tried, which a CPU computes sooner
TRIED = (4, 8)
ROOM = len(PATCHES) * MIN_BYTES  # for all graphs


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> PaddleOCRVL:
    return load_model(checkpoint, PaddleOCRVLConfig.from_pretrained(checkpoint), CPU, torch.float32)


@pytest.fixture(autouse=True)
def _gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("engine.encode.PATCHES", PATCHES)
    monkeypatch.setattr("engine.encode.TRIED", TRIED)
    monkeypatch.setattr(attention, "VARIABLE_FLASH", variable_flash)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _device: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # faster than two where other tests run beside it
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def graphs() -> Recordings:
    return Recordings(MIN_BYTES, ROOM)


@pytest.fixture
def encode(model: PaddleOCRVL, graphs: Recordings) -> Encode:
    return Encode(model, max(PATCHES), CPU, graphs)


class Clock:
    """Time in which a replay takes a second, and a launched image half of one."""

    def __init__(self, graphs: Recordings) -> None:
        self.graphs, self.launched, self.launch_seconds = graphs, 0, 0.5

    def perf_counter(self) -> float:
        return self.graphs.replayed + self.launched * self.launch_seconds


@pytest.fixture
def clock(model: PaddleOCRVL, graphs: Recordings, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(graphs)
    encode_sliced = model.encode_sliced

    def counted(*arguments: object) -> object:
        clock.launched += 1
        return encode_sliced(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "encode_sliced", counted)
    monkeypatch.setattr("engine.encode.time", clock)
    return clock


def pixels_of(model: PaddleOCRVL, grids: Sequence[Grid]) -> Tensor:
    patches = sum(rows * columns for rows, columns in grids)
    return torch.randn(patches, *model.pixel_shape, generator=torch.Generator().manual_seed(patches))


def assert_as_launched(encode: Encode, grids: Sequence[Grid]) -> None:
    """The features are those of the network launched operation by operation."""
    assert isinstance(encode.model, PaddleOCRVL)
    pixels = pixels_of(encode.model, grids)
    features, expected = run(encode.run_sliced(pixels, grids)), encode.model.encode(pixels, grids)
    assert len(features) == len(grids)
    for ours, theirs in zip(features, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "grids",
    [[(4, 6)], [(8, 8)], [(2, 8), (6, 4), (2, 2), (6, 4)], [(2, 2)] * MAX_IMAGES, [(16, 32)]],
    ids=["one", "as many patches as a graph", "several shapes", "as many images as a graph", "the largest"],
)
def test_a_graph_computes_the_features_that_launches_do(
    encode: Encode, graphs: Recordings, grids: Sequence[Grid]
) -> None:
    assert_as_launched(encode, grids)
    assert graphs.replayed == 1


@pytest.mark.parametrize("grids", [[(2, 2)] * (MAX_IMAGES + 1), [(16, 34)]], ids=["too many images", "too large"])
def test_what_fits_no_graph_is_launched(encode: Encode, graphs: Recordings, grids: Sequence[Grid]) -> None:
    assert_as_launched(encode, grids)
    assert graphs.captured == 0


def test_a_graph_serves_smaller_images_after_larger_ones(encode: Encode, graphs: Recordings) -> None:
    """The patches that a run leaves behind its own belong to no image."""
    for grids in ([(6, 10)], [(4, 4), (2, 6)], [(4, 8), (2, 4)], [(2, 2)]):
        assert_as_launched(encode, grids)
    assert (graphs.captured, graphs.replayed) == (1, 4)


def test_all_graphs_are_captured_ahead(encode: Encode, graphs: Recordings, clock: Clock) -> None:
    clock.launch_seconds = 2.0
    encode.prepare()
    assert encode.graphs is graphs
    assert graphs.captured == len(PATCHES)
    assert_as_launched(encode, [TRIED])
    assert graphs.captured == len(PATCHES)


@pytest.mark.usefixtures("clock")
def test_graphs_that_are_slower_than_launches_are_dropped(encode: Encode, graphs: Recordings) -> None:
    encode.prepare()
    assert encode.graphs is None
    replayed = graphs.replayed
    assert_as_launched(encode, [TRIED])
    assert graphs.replayed == replayed


def test_no_more_graphs_are_captured_ahead_than_there_is_room_for(encode: Encode, graphs: Recordings) -> None:
    graphs.limit(2 * MIN_BYTES)
    encode.prepare()
    assert graphs.captured == 2


def test_features_outlast_graphs_that_run_between_slices(encode: Encode, graphs: Recordings) -> None:
    """Bug: a decode step's graph, which shares the pool, ran before hidden states had become features."""
    assert isinstance(encode.model, PaddleOCRVL)
    grids = [(4, 6)]
    pixels = pixels_of(encode.model, grids)
    work = encode.run_sliced(pixels, grids)
    next(work)
    for graph in graphs._graphs.values():
        graph.captured.outputs.fill_(float("nan"))  # as a graph's temporaries may be where another's outputs were
    with pytest.raises(StopIteration) as end:
        next(work)
    torch.testing.assert_close(end.value.value[0], encode.model.encode(pixels, grids)[0], rtol=1e-4, atol=1e-4)
