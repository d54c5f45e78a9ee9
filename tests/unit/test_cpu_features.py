"""Choices by a CPU's features: both sides of each, on any machine.

Fakes stand in for what the CPU reports and for how long it takes; choices and kernels are real.
"""

import mmap
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engine import fastest, threads
from engine.build import build_runner, planned
from engine.config import EngineConfig
from engine.device import DeviceError
from engine.fastest import vision_attention
from engine.products import ONE_DNN, WIDE_EIGHT_BITS, Measured, choose_products, name_of
from models.paddleocr_vl.attention import FullAttention, full_by_products, full_fused
from models.paddleocr_vl.cpu_image_attention import CpuImageAttention
from models.paddleocr_vl.cpu_linear import Int8Linear, PackedLinear, PackedSwiGLU
from models.paddleocr_vl.cpu_products import PRODUCTS, pack, works
from models.paddleocr_vl.linear import SwiGLU
from models.paddleocr_vl.norm import FusedNorm, RMSNorm
from models.paddleocr_vl.processor import Processor
from models.paddleocr_vl.weights import MAPPED, load_model, release, stored_dtype

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
TEXT = SimpleNamespace(hidden_size=32, intermediate_size=48)
VISION = SimpleNamespace(hidden_size=48, num_attention_heads=2, num_hidden_layers=2)


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Sets the answer to whether oneDNN computes in bf16 on this CPU."""

    def report(supported: bool) -> None:
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)

    return report


def layers(dtype: torch.dtype) -> nn.Sequential:
    return nn.Sequential(RMSNorm(64, eps=1e-5), nn.Linear(64, 64, bias=False), SwiGLU(64, 32)).to(dtype)


def kinds(model: nn.Sequential) -> list[type[nn.Module]]:
    return [type(layer) for layer in model]


PLAIN = [RMSNorm, nn.Linear, SwiGLU]
PACKED = [FusedNorm, PackedLinear, PackedSwiGLU]


# Packing


@pytest.mark.parametrize("supported", [True, False])
def test_fp32_layers_are_packed_with_or_without_bf16(reports: Callable[[bool], None], supported: bool) -> None:
    reports(supported)
    pack(model := layers(torch.float32), torch.float32)
    assert kinds(model) == PACKED


def test_bf16_layers_stay_plain_on_a_cpu_without_bf16(reports: Callable[[bool], None]) -> None:
    reports(False)
    pack(model := layers(torch.bfloat16), torch.bfloat16)
    assert kinds(model) == PLAIN


def test_bf16_layers_are_packed_on_a_cpu_with_bf16_and_others_have_no_kernel_for_them() -> None:
    """The report is the CPU's own here: it must agree with what the kernels do."""
    x = torch.randn(5, 64, dtype=torch.bfloat16)
    pack(model := layers(torch.bfloat16), torch.bfloat16)
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        plain = nn.Linear(64, 64, bias=False).bfloat16()
        torch.testing.assert_close(PackedLinear(plain.weight)(x), plain(x))
        assert kinds(model) == PACKED
    else:
        assert kinds(model) == PLAIN
        with pytest.raises(RuntimeError, match="bf16"):
            PackedLinear(nn.Linear(64, 64, bias=False).bfloat16().weight)
    assert model(x).dtype == torch.bfloat16


def test_nothing_is_packed_without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    pack(model := layers(torch.float32), torch.float32)
    assert kinds(model) == PLAIN


# Ways to store weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_linear_layers_are_replaced_by_those_that_were_chosen_for_their_kind(
    reports: Callable[[bool], None], dtype: torch.dtype
) -> None:
    """In any dtype: their products are not the dtype's."""
    reports(False)
    pack(model := layers(dtype), dtype, {"*": PRODUCTS["int8 by 7 bits"]})
    assert kinds(model) == [FusedNorm if dtype == torch.float32 else RMSNorm, Int8Linear, Int8Linear]
    assert model(torch.randn(5, 64, dtype=dtype)).shape == (5, 32)
    assert model(torch.randn(5, 64, dtype=dtype)).dtype == dtype


def test_a_way_whose_pairs_of_products_saturate_does_not_work() -> None:
    """As 8 bits on both sides do on a CPU without VNNI: each pair is summed in 16 bits."""

    class Saturating(Int8Linear):
        def __init__(self, linear: nn.Linear) -> None:
            super().__init__(linear)
            self.scale = linear.weight.detach().abs().amax(1) / 127
            self.rounded = (linear.weight.detach() / self.scale[:, None]).round()

        def product(self, x: torch.Tensor) -> torch.Tensor:
            products = (x * 127 + 128).round()[:, None] * self.rounded  # (N, out, in)
            pairs = products.unflatten(-1, (-1, 2)).sum(-1).clamp(-(2**15), 2**15 - 1)
            return (pairs.sum(-1) - 128 * self.rounded.sum(-1)) * self.scale / 127

    exact = PRODUCTS["int8 by 7 bits"]
    assert works(exact, torch.float32)
    assert not works(replace(exact, make=lambda linear, _: Saturating(linear)), torch.float32)


def test_a_weight_that_was_mapped_from_a_file_and_has_other_data_since_keeps_it(checkpoint: Path) -> None:
    """Bug: a norm that was converted to fp32 lost its pages where they were whole ones, and gave zeros."""
    model = load_model(checkpoint, Processor(checkpoint).config, CPU, stored_dtype(checkpoint))
    weight = model.text.norm.weight
    assert hasattr(weight, MAPPED)
    private = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # as what malloc gives
    page = torch.from_numpy(np.frombuffer(private, np.float32))
    weight.data = page.fill_(1)
    release(weight)
    assert bool((page == 1).all())


def chosen(checkpoint: Path, setting: str, dtype: torch.dtype = torch.float32) -> dict[str, str]:
    model = load_model(checkpoint, Processor(checkpoint).config, CPU, torch.float32)
    return {kind: way.name for kind, way in choose_products(model, setting, dtype).items()}


def times(monkeypatch: pytest.MonkeyPatch, *slow: str) -> list[str]:
    """Fakes how long products take: those of some ways ten times as long. Returns the ways that were measured."""
    measured: list[str] = []

    def measure(_: Measured, *arguments: Any) -> Iterator[tuple[str, float]]:
        layer, ways = arguments
        measured.extend(way.name for way in ways)
        return ((name_of(way, layer), 10.0 if way.name in slow else 1.0) for way in ways)

    monkeypatch.setattr(Measured, "_measure", measure)
    return measured


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "paddleocr-vl" / "products.json"


@pytest.mark.usefixtures("cache")
def test_sixteen_bits_are_taken_beside_fp32_and_nothing_is_measured(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = times(monkeypatch)
    assert set(chosen(checkpoint, "auto").values()) == {"int16 in blocks"}
    assert not measured


@pytest.mark.usefixtures("cache")
def test_a_cpu_without_our_kernels_has_fp16_beside_fp32(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.products.works", lambda way, _: not way.in_blocks)
    assert set(chosen(checkpoint, "auto").values()) == {"fp16"}


def test_what_was_measured_is_not_measured_again(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    measured = times(monkeypatch)
    chosen(checkpoint, "int8", torch.bfloat16)
    count = len(measured)
    assert count > 0
    assert chosen(checkpoint, "int8", torch.bfloat16)
    assert len(measured) == count
    cache.write_text("{")
    assert chosen(checkpoint, "int8", torch.bfloat16)
    assert len(measured) == 2 * count


def test_a_cache_that_cannot_be_written_is_done_without(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    cache.parent.write_text("no folder")
    times(monkeypatch)
    assert chosen(checkpoint, "int8", torch.bfloat16)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("slow", "tower"), [((), True), ((*WIDE_EIGHT_BITS, ONE_DNN), False)], ids=["no slower", "slower"]
)
def test_the_decoder_has_eight_bits_and_the_vision_tower_unless_bf16_is_faster(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, slow: Sequence[str], tower: bool
) -> None:
    times(monkeypatch, *slow)
    expected = {"visual": tower, "projector": False, "text": True, "lm_head": True}
    for kind, way in chosen(checkpoint, "int8", torch.bfloat16).items():
        assert way.startswith("int8") == expected[kind.partition(".")[0]], kind


@pytest.mark.usefixtures("cache")
def test_four_bits_are_for_the_decoders_layers_alone(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times(monkeypatch)
    for kind, way in chosen(checkpoint, "int4").items():
        assert (way == "int4 in blocks") == kind.startswith("text."), kind


@pytest.mark.usefixtures("cache")
def test_bf16_has_no_other_weights_of_16_bits(checkpoint: Path) -> None:
    assert not any("16" in way for way in chosen(checkpoint, "auto", torch.bfloat16).values())
    with pytest.raises(DeviceError, match="WEIGHTS=fp16 needs DTYPE=float32"):
        chosen(checkpoint, "fp16", torch.bfloat16)


@pytest.mark.usefixtures("cache")
def test_eight_bits_are_refused_where_no_way_works(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.products.works", lambda *_: False)
    with pytest.raises(DeviceError, match="needs a CPU with products of 8 bits"):
        chosen(checkpoint, "int8")
    with pytest.raises(DeviceError, match="WEIGHTS=int4 needs a CPU with AVX2, on Linux"):
        chosen(checkpoint, "int4")


@pytest.mark.usefixtures("cache")
def test_eight_bits_in_the_decoder_do_not_need_onednn(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.products.works", lambda product, _: "oneDNN" not in product.name)
    times(monkeypatch)
    ways = chosen(checkpoint, "int8")
    assert {way for kind, way in ways.items() if kind.startswith("text.")} <= {"int8 in blocks", "int8"}


@pytest.mark.usefixtures("cache")
def test_a_plan_made_before_loading_counts_the_weights_as_they_will_be_stored(checkpoint: Path) -> None:
    config = EngineConfig(model=checkpoint, device="cpu", dtype="float32", weights="fp16", slots=1)
    plan = build_runner(config, Processor(checkpoint)).plan
    assert abs(planned(config)[2].weights - plan.weights) < 0.1 * plan.weights


# The vision tower's attention


class Clock:
    """Time that passes only while attention runs, as long as the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def slowed(self, full: FullAttention, seconds: float) -> FullAttention:
        def attend(*arguments: Any) -> Any:
            self.now += seconds
            return full(*arguments)

        attend.__name__ = full.__name__
        return attend


@pytest.mark.parametrize("fastest_one", ["full_fused", "full_by_products", "full_by_whole_numbers"])
def test_a_cpu_in_bf16_attends_by_what_is_fastest(monkeypatch: pytest.MonkeyPatch, fastest_one: str) -> None:
    clock = Clock()
    heads = VISION.num_attention_heads
    own = CpuImageAttention(heads, VISION.hidden_size // heads, torch.bfloat16).full_by_whole_numbers
    ways = {way.__name__: way for way in (full_fused, full_by_products, own)}
    slowed = {name: clock.slowed(way, 0.5 if name == fastest_one else 1.0) for name, way in ways.items()}
    monkeypatch.setattr(fastest, "time", clock)
    monkeypatch.setattr(fastest, "full_fused", slowed["full_fused"])
    monkeypatch.setattr(fastest, "full_by_products", slowed["full_by_products"])
    monkeypatch.setattr(fastest, "_own_in_images", lambda *_: [slowed["full_by_whole_numbers"]])
    assert vision_attention(CPU, torch.bfloat16, VISION).__name__ == fastest_one


def test_a_cpu_in_fp32_attends_by_whole_numbers_unless_nothing_may_be_rounded() -> None:
    assert vision_attention(CPU, torch.float32, VISION).__name__ == "full_by_whole_numbers"
    assert vision_attention(CPU, torch.float32, VISION, exact=True) is full_fused


def test_a_cpu_without_our_kernels_attends_by_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise RuntimeError("nothing is compiled for NO AVX")

    monkeypatch.setattr("models.paddleocr_vl.cpu_image_attention.functions", none)
    assert vision_attention(CPU, torch.float32, VISION) is full_fused


# Threads


@pytest.mark.parametrize(
    ("physical", "logical", "expected"),
    [(4, 8, 4), (None, 8, 8), (None, None, 1)],
    ids=["physical cores known", "logical ones known", "none known"],
)
def test_the_model_gets_a_thread_for_each_core_that_the_system_reports(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, physical: int | None, logical: int | None, expected: int
) -> None:
    cores = {True: logical, False: physical}
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: cores[logical])
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert threads.compute_threads(1, tmp_path) == expected


def test_a_system_without_affinity_or_thread_priorities_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("only Linux has this")

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("os.sched_getaffinity", refuse, raising=False)
    monkeypatch.setattr("os.setpriority", refuse, raising=False)
    monkeypatch.setattr("psutil.cpu_count", lambda **_: 6)
    assert threads.compute_threads(2, tmp_path) == 3
    with threads.background_pool(1, "test") as pool:
        assert pool.submit(threading.get_ident).result() != threading.get_ident()
