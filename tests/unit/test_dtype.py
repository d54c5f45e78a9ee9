"""Choice of the dtype by the times of products and by the slots that fit. Times, slots and GPUs are fakes."""

from types import SimpleNamespace

import pytest
import torch

from engine import device
from engine.device import FEW_SLOTS, PROMPT_ROWS, choose_dtype

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
FP32, FP16, BF16 = torch.float32, torch.float16, torch.bfloat16
TEXT = SimpleNamespace(hidden_size=32, intermediate_size=48)
INF = float("inf")


class Products:
    """How long the products of a prompt and of a step take, by dtype."""

    def __init__(self) -> None:
        self.prompt: dict[torch.dtype, float] = {}
        self.step: dict[torch.dtype, float] = {}

    def set(self, dtype: torch.dtype, prompt: float, step: float) -> None:
        self.prompt[dtype], self.step[dtype] = prompt, step


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> Products:
    made = Products()

    def seconds(dtype: torch.dtype, _device: object, _config: object, rows: int) -> float:
        return (made.prompt if rows == PROMPT_ROWS else made.step)[dtype]

    monkeypatch.setattr(device, "_matmul_seconds", seconds)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (6, 1))
    monkeypatch.setattr(device, "has_bf16", lambda: True)
    return made


def many(_dtype: torch.dtype) -> int:
    return FEW_SLOTS


def few(_dtype: torch.dtype) -> int:
    return FEW_SLOTS - 1


@pytest.mark.parametrize(
    ("wide", "narrow", "chosen"),
    [
        (2.0, 1.0, BF16),  # a CPU with bf16
        (1.0, 4.0, FP32),  # one that says so, and is slow
        (1.1, 1.0, FP32),  # not worth the rounding
        (1.0, INF, FP32),
    ],
)
def test_a_cpu_computes_in_bf16_if_that_is_clearly_faster(
    products: Products, wide: float, narrow: float, chosen: torch.dtype
) -> None:
    products.set(FP32, wide, wide)
    products.set(BF16, narrow, narrow)
    assert choose_dtype("auto", CPU, TEXT, few) == chosen


@pytest.mark.usefixtures("products")
def test_a_cpu_without_bf16_is_not_measured_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "has_bf16", lambda: False)
    assert choose_dtype("auto", CPU, TEXT, few) == FP32


@pytest.mark.parametrize(
    ("prompt", "step", "chosen"),
    [
        (0.6e-3, 0.05e-3, FP16),  # a GTX 1070: the same arithmetic, half the bytes of a step
        (0.6e-3, 0.10e-3, FP32),
        (36e-3, 0.05e-3, FP32),  # with the card's own fp16 arithmetic
        (INF, INF, FP32),
    ],
)
def test_a_gpu_computes_in_fp16_if_a_typical_request_is_clearly_faster(
    products: Products, prompt: float, step: float, chosen: torch.dtype
) -> None:
    """Bug: the product of a prompt hid that of a step, of which a request has a hundred times as many."""
    products.set(FP32, 0.6e-3, 0.10e-3)
    products.set(FP16, prompt, step)
    assert choose_dtype("auto", GPU, TEXT, many) == chosen


@pytest.mark.parametrize(("half", "chosen"), [(1e-3, FP16), (INF, FP32)])
def test_a_gpu_computes_in_fp16_where_fp32_leaves_few_slots(
    products: Products, half: float, chosen: torch.dtype
) -> None:
    products.set(FP32, 1e-3, 1e-3)
    products.set(FP16, half, half)
    assert choose_dtype("auto", GPU, TEXT, few) == chosen


def test_a_gpu_that_has_bf16_computes_in_it_without_a_measurement(
    products: Products, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 0))
    assert choose_dtype("auto", GPU, TEXT, few) == BF16
    assert not products.step


@pytest.mark.usefixtures("products")
def test_a_requested_dtype_is_not_measured() -> None:
    assert choose_dtype("float16", CPU, TEXT, few) == FP16


@pytest.mark.parametrize("dtype", [FP32, BF16])
@pytest.mark.parametrize("rows", [1, PROMPT_ROWS])
def test_products_are_measured_in_either_dtype(dtype: torch.dtype, rows: int) -> None:
    assert 0 < device._matmul_seconds(dtype, CPU, TEXT, rows) < INF


def test_products_that_are_not_finite_are_never_the_faster_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn", lambda *shape, device: torch.full(shape, 6e4, device=device))
    assert device._matmul_seconds(FP16, CPU, TEXT, 1) == INF
    assert device._matmul_seconds(FP32, CPU, TEXT, 1) < INF
