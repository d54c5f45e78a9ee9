"""Choices by a CPU's features: both sides of each, on any machine.

Fakes stand in for what the CPU reports and for how long it takes; choices and kernels are real.
"""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from engine import fastest, threads
from engine.config import EngineConfig
from engine.engine import Engine
from engine.fastest import vision_attention
from models.paddleocr_vl.attention import FullAttention, full_by_products, full_fused
from models.paddleocr_vl.linear import Int8Linear, Int8SwiGLU, PackedLinear, PackedSwiGLU, SwiGLU, int8_works, pack
from models.paddleocr_vl.norm import MirroredNorm, RMSNorm

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
PACKED = [MirroredNorm, PackedLinear, PackedSwiGLU]


# Packing


@pytest.mark.parametrize("supported", [True, False])
def test_fp32_layers_are_packed_with_or_without_bf16(reports: Callable[[bool], None], supported: bool) -> None:
    reports(supported)
    pack(model := layers(torch.float32))
    assert kinds(model) == PACKED


def test_bf16_layers_stay_plain_on_a_cpu_without_bf16(reports: Callable[[bool], None]) -> None:
    reports(False)
    pack(model := layers(torch.bfloat16))
    assert kinds(model) == PLAIN


def test_bf16_layers_are_packed_on_a_cpu_with_bf16_and_others_have_no_kernel_for_them() -> None:
    """The report is the CPU's own here: it must agree with what the kernels do."""
    x = torch.randn(5, 64, dtype=torch.bfloat16)
    pack(model := layers(torch.bfloat16))
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
    pack(model := layers(torch.float32), int8=True)
    assert kinds(model) == PLAIN


# Eight bits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_linear_layers_are_replaced_by_those_with_eight_bits(
    reports: Callable[[bool], None], dtype: torch.dtype
) -> None:
    """In any dtype: their products are not the dtype's."""
    reports(False)
    pack(model := layers(dtype), int8=True)
    assert kinds(model) == [MirroredNorm if dtype == torch.float32 else RMSNorm, Int8Linear, Int8SwiGLU]
    assert model(torch.randn(5, 64, dtype=dtype)).dtype == dtype


def test_eight_bits_are_refused_without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not int8_works(CPU)


class SaturatingLinear(Int8Linear):
    """An `Int8Linear` as a CPU without VNNI computes it: each pair of products saturates at 16 bits."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        self.rounded = (linear.weight.detach() / self.scale[:, None]).round()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        products = (x * 127 + 128).round()[:, None] * self.rounded  # (N, out, in)
        pairs = products.unflatten(-1, (-1, 2)).sum(-1).clamp(-(2**15), 2**15 - 1)
        return (pairs.sum(-1) - 128 * self.rounded.sum(-1)) * self.scale / 127


def test_eight_bits_are_refused_where_pairs_of_products_saturate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.paddleocr_vl.linear.Int8Linear", SaturatingLinear)
    assert not int8_works(CPU)


@pytest.mark.parametrize("works", [True, False])
def test_the_setting_for_eight_bits_is_refused_where_they_do_not_work(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    """Layers with eight bits can be made and run on any CPU; only their sums would be wrong."""
    monkeypatch.setattr("engine.build.int8_works", lambda _device: works)
    engine = Engine(EngineConfig(model=checkpoint, device="cpu", weights="int8", slots=1))
    engine.start()
    try:
        assert engine.wait_until_settled(300) == ("ready" if works else "failed"), engine.error
        assert works or "WEIGHTS=int8 needs a CPU with VNNI; this is cpu" in str(engine.error)
    finally:
        engine.shutdown(grace=5)


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


@pytest.mark.parametrize(("fused", "by_products", "chosen"), [(1.0, 0.5, "full_by_products"), (0.5, 1.0, "full_fused")])
def test_a_cpu_in_bf16_attends_by_what_is_faster(
    monkeypatch: pytest.MonkeyPatch, fused: float, by_products: float, chosen: str
) -> None:
    clock = Clock()
    monkeypatch.setattr(fastest, "time", clock)
    monkeypatch.setattr(fastest, "full_fused", clock.slowed(full_fused, fused))
    monkeypatch.setattr(fastest, "full_by_products", clock.slowed(full_by_products, by_products))
    assert vision_attention(CPU, torch.bfloat16, VISION).__name__ == chosen


def test_a_cpu_in_fp32_has_no_choice_of_attention() -> None:
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
    assert threads.compute_threads(1, tmp_path / "none") == expected


def test_a_system_without_affinity_or_thread_priorities_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("only Linux has this")

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("os.sched_getaffinity", refuse, raising=False)
    monkeypatch.setattr("os.setpriority", refuse, raising=False)
    monkeypatch.setattr("psutil.cpu_count", lambda **_: 6)
    assert threads.compute_threads(2, tmp_path / "none") == 3
    with threads.background_pool(1, "test") as pool:
        assert pool.submit(threading.get_ident).result() != threading.get_ident()
