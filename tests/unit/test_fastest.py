"""Choices by measuring: what is compared, and what follows. No GPU is needed: its clocks and captures are fakes."""

import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PaddleOCRVLConfig

from engine import fastest
from engine.cuda_graphs import Captured
from engine.fastest import fuse_layers, vision_attention
from engine.timer import REPETITIONS, Timer
from models.paddleocr_vl import attention
from models.paddleocr_vl.gpu import KernelHead
from models.paddleocr_vl.kernels import ROWS, Kernels
from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.nvrtc import KernelError
from models.paddleocr_vl.weights import load_model
from tests.emulator import EmulatedModule

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _device: None)


def test_the_way_of_least_seconds_is_taken_and_the_log_tells_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    seconds = {"walk": 0.5, "swim": float("inf"), "ride": 0.25}
    assert fastest.fastest("Ways home", seconds, {"walk": 1, "swim": 2, "ride": 3}) == 3
    assert caplog.messages == ["Ways home: walk 500.00 ms, swim inf ms, ride 250.00 ms"]


# --- the timer ------------------------------------------------------------------------------------------------------


class FakeCapture:
    """Captures of work that a replay repeats, unless they are refused."""

    def __init__(self, *, refused: bool = False) -> None:
        self.refused = refused
        self.tried = self.replayed = self.renewed = 0

    def __call__(self, work: Callable[[], Any]) -> Captured:
        self.tried += 1
        if self.refused:
            raise RuntimeError("operation not permitted when stream is capturing")

        def replay() -> None:
            self.replayed += 1
            work()

        return Captured(replay, None, 0)

    def renew_pool(self) -> None:
        self.renewed += 1


class FakeStopwatch:
    """Laps that take as long as the test says."""

    laps: Iterator[float]

    def __init__(self, _device: torch.device) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def seconds(self) -> float:
        return next(self.laps)


@pytest.fixture
def laps(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def take(*seconds: float) -> None:
        FakeStopwatch.laps = iter(seconds)

    monkeypatch.setattr("engine.timer.Stopwatch", FakeStopwatch)
    return take


def timer_of(capture: FakeCapture) -> Timer:
    return Timer(GPU, capture)  # type: ignore[arg-type]


def nothing() -> None:
    pass


def impossible() -> None:
    raise RuntimeError("no kernel for this GPU")


def test_work_is_timed_by_replays_of_a_graph(laps: Callable[..., None]) -> None:
    capture = FakeCapture()
    laps(3.0, 1.0, 2.0)
    assert timer_of(capture).seconds(nothing) == 1.0
    assert (capture.tried, capture.replayed) == (1, 3)


def test_a_pool_is_renewed_after_each_timing(laps: Callable[..., None]) -> None:
    """PyTorch does not capture into a pool whose graphs have all been dropped."""
    capture = FakeCapture()
    timer = timer_of(capture)
    for timings in (1, 2):
        laps(1.0, 1.0, 1.0)
        timer.seconds(nothing)
        assert capture.renewed == timings


def test_what_cannot_run_is_left_out_before_any_capture() -> None:
    capture = FakeCapture()
    assert timer_of(capture).seconds(impossible) == float("inf")
    assert capture.tried == 0


def test_work_is_timed_without_graphs_where_a_capture_fails(
    laps: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    capture, runs = FakeCapture(refused=True), 0
    timer = timer_of(capture)

    def work() -> None:
        nonlocal runs
        runs += 1

    for seconds in (5.0, 6.0):
        laps(seconds, seconds, seconds)
        assert timer.seconds(work) == seconds
    assert (capture.tried, runs) == (1, 2 * (1 + REPETITIONS))
    assert [message for message in caplog.messages if "timed without CUDA graphs" in message] == caplog.messages


# --- the vision tower -----------------------------------------------------------------------------------------------

VISION = SimpleNamespace(hidden_size=32, num_attention_heads=2, num_hidden_layers=27)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, ...]]]:
    """Ways of attention that were measured on a fake GPU, and patches of the images."""
    tried: list[tuple[str, tuple[int, ...]]] = []

    def seconds(way: Any, images: list[int], *_: object) -> float:
        tried.append((way.__name__, tuple(images)))
        return float(len(tried))

    monkeypatch.setattr(fastest, "_seconds_of_images", seconds)
    return tried


@pytest.mark.parametrize(
    ("capability", "dtype", "flash"),
    [
        ((9, 0), torch.bfloat16, True),
        ((8, 0), torch.float16, True),
        ((9, 0), torch.float32, False),
        ((7, 5), torch.float16, False),
        ((6, 1), torch.float32, False),
    ],
)
def test_a_gpu_tries_flash_and_cudnn_from_ampere_up_in_two_bytes(
    tried: list[Any], monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype, *, flash: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert vision_attention(GPU, dtype, VISION).__name__ == "full_efficient"
    names = [name for name, _ in tried]
    assert names in ([], ["full_efficient", "full_flash", "full_cudnn"])
    assert bool(names) == flash


class Clock:
    """Time that passes only where a way of attention says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def way(self, name: str, seconds: float, plan: float = 0.0) -> Any:
        """`plan`: seconds that a shape costs when it is new."""
        known: set[torch.Size] = set()

        def attend(q: Tensor, _k: Tensor, _v: Tensor, _queries: int | None) -> Any:
            self.now += seconds + (plan if q.shape not in known else 0)
            known.add(q.shape)
            yield
            return q

        attend.__name__ = name
        return attend


def test_each_measurement_takes_images_of_new_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As most requests bring: a later engine of a process would find cuDNN's plans made, and take it for fast."""
    clock = Clock()
    monkeypatch.setattr(fastest, "time", clock)
    monkeypatch.setattr(fastest, "full_fused", clock.way("fused", 1.0))
    monkeypatch.setattr(fastest, "_own_in_images", lambda *_: [])
    monkeypatch.setattr(fastest, "full_by_products", clock.way("planned", 0.5, plan=20.0))
    for _ in range(3):
        assert vision_attention(CPU, torch.bfloat16, VISION).__name__ == "fused"


@pytest.mark.parametrize(("plan", "chosen"), [(10.0, "planned"), (20.0, "fused")])
def test_the_time_to_plan_for_a_new_shape_counts_once_for_all_layers(
    monkeypatch: pytest.MonkeyPatch, plan: float, chosen: str
) -> None:
    """27 layers take 27 s, or 13.5 s and the plan."""
    clock = Clock()
    monkeypatch.setattr(fastest, "time", clock)
    monkeypatch.setattr(fastest, "full_fused", clock.way("fused", 1.0))
    monkeypatch.setattr(fastest, "_own_in_images", lambda *_: [])
    monkeypatch.setattr(fastest, "full_by_products", clock.way("planned", 0.5, plan))
    assert vision_attention(CPU, torch.bfloat16, VISION).__name__ == chosen


def test_a_way_of_attention_that_cannot_run_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest, "_own_in_images", lambda *_: [])
    monkeypatch.setattr(fastest, "full_by_products", attention.full_flash)  # a CPU has none
    assert vision_attention(CPU, torch.bfloat16, VISION) is attention.full_fused


# --- the decoder's layers -------------------------------------------------------------------------------------------


class FakeTimer:
    """Seconds of decode steps that the test says, by the number of rows, then of a layer of the vision tower.

    Those of one row are run.
    """

    def __init__(
        self, plain: float, many: float, own: Mapping[int, float], layer: tuple[float, float] = (2.0, 1.0)
    ) -> None:
        self.device = CPU
        steps = [dict.fromkeys(ROWS, plain), dict.fromkeys(ROWS, many), own]
        decode = ((rows, seconds[rows]) for seconds in steps for rows in ROWS)
        self._steps = chain(decode, ((max(ROWS), seconds) for seconds in layer))

    def seconds(self, work: Callable[[], Any]) -> float:
        rows, seconds = next(self._steps)
        if rows == 1:  # more take the emulator seconds
            work()
        return seconds


@pytest.fixture
def model(checkpoint: Path) -> PaddleOCRVL:
    return load_model(checkpoint, PaddleOCRVLConfig.from_pretrained(checkpoint), CPU, torch.float32)


@pytest.fixture
def _compiled(small_module: EmulatedModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest, "Module", lambda *_: small_module)


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize(
    ("own", "most"), [({1: 1.0, 2: 1.5, 4: 1.9, 8: 3.0}, 4), ({1: 3.0, 2: 3.0, 4: 3.0, 8: 3.0}, 0)]
)
def test_our_products_compute_as_many_rows_as_they_are_faster_for(
    model: PaddleOCRVL, own: dict[int, float], most: int
) -> None:
    assert fuse_layers(model, FakeTimer(4.0, 2.0, own)) is not None  # type: ignore[arg-type]
    assert isinstance(model.lm_head, KernelHead)
    assert model.lm_head._few.most == most


@pytest.mark.usefixtures("_compiled")
def test_the_vision_tower_keeps_its_layers_where_ours_are_slower(model: PaddleOCRVL) -> None:
    slower: Any = FakeTimer(4.0, 2.0, dict.fromkeys(ROWS, 1.0), layer=(1.0, 2.0))
    before = dict(model.visual.named_modules())
    fuse_layers(model, slower)
    assert dict(model.visual.named_modules()) == before
    assert isinstance(model.lm_head, KernelHead)


@pytest.mark.usefixtures("_compiled")
def test_kernels_that_are_slower_are_put_back_but_still_offered_to_attention(model: PaddleOCRVL) -> None:
    """Bug: where the layers were no faster by our kernels, our kernel for attention was not tried."""
    before = dict(model.named_modules())
    timer: Any = FakeTimer(1.0, 2.0, dict.fromkeys(ROWS, 3.0), layer=(1.0, 2.0))
    assert isinstance(fuse_layers(model, timer), Kernels)
    assert dict(model.named_modules()) == before


def test_without_a_compiler_for_kernels_pytorch_s_are_used(
    model: PaddleOCRVL, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: object) -> None:
        raise KernelError("NVRTC for CUDA 13 is not there")

    monkeypatch.setattr(fastest, "Module", missing)
    before = dict(model.named_modules())
    assert fuse_layers(model, Timer(CPU, None)) is None
    assert dict(model.named_modules()) == before
    assert caplog.messages == ["PyTorch's kernels are used alone, which is slower: NVRTC for CUDA 13 is not there"]
