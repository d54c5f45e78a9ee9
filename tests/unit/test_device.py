"""Choice of a worker's GPU, and what is refused of it. The GPUs are fakes; nothing runs on them."""

import pytest
import torch

from engine.device import DeviceError, choose_device, choose_dtype, runs_on

PASCAL = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]  # a cu126 build's
TURING = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]  # a cu130 build's


@pytest.fixture
def current(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """The devices that were made current, in order, on a machine with two GPUs."""
    made: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", made.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (6, 1))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "A GPU")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: PASCAL)
    return made


@pytest.mark.parametrize("requested", ["auto", "cuda"])
def test_each_worker_uses_its_own_gpu(requested: str, current: list[torch.device]) -> None:
    """Bug: the GPU was not the thread's current one, and CUDA's events measured the first GPU, where nothing ran."""
    for worker in range(2):
        assert choose_device(requested, worker) == current[-1] == torch.device("cuda", worker)


@pytest.mark.usefixtures("current")
def test_more_workers_than_gpus_are_refused() -> None:
    with pytest.raises(DeviceError, match=r"cuda:2 is asked for, but PyTorch .* sees 2 GPUs"):
        choose_device("auto", worker=2)


def test_workers_share_a_cpu() -> None:
    assert choose_device("cpu", worker=1) == torch.device("cpu")


@pytest.mark.parametrize(
    ("capability", "built", "build"),
    [
        ((6, 1), TURING, "cu126"),  # a GTX 1080
        ((7, 0), TURING, "cu126"),
        ((12, 0), PASCAL, "cu130"),  # an RTX 5090
    ],
)
@pytest.mark.usefixtures("current")
def test_a_gpu_without_kernels_is_refused_with_the_build_that_has_them(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], built: list[str], build: str
) -> None:
    """Bug: it was accepted, and died at the first kernel with "no kernel image is available"."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    with pytest.raises(DeviceError, match=f"A GPU has compute capability .* has no kernels .*TORCH_BUILD={build}"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("arch", "capability", "runs"),
    [
        ("sm_60", (6, 1), True),
        ("sm_86", (8, 9), True),
        ("sm_86", (8, 0), False),  # a lower minor version
        ("sm_80", (9, 0), False),  # another major version
        ("compute_80", (9, 0), True),
        ("compute_90", (8, 0), False),
        ("sm_90a", (9, 0), True),
        ("sm_100a", (10, 3), False),
        ("sm_100f", (10, 3), True),
        ("compute_90a", (10, 0), False),
        ("gfx90a", (9, 0), False),
    ],
)
def test_code_for_an_architecture_runs_where_nvidia_says(arch: str, capability: tuple[int, int], *, runs: bool) -> None:
    assert runs_on(arch, capability) == runs


@pytest.mark.usefixtures("current")
def test_sums_of_narrow_products_stay_fp32() -> None:
    matmul = torch.backends.cuda.matmul
    matmul.allow_fp16_reduced_precision_reduction = matmul.allow_bf16_reduced_precision_reduction = True
    choose_device("cuda")
    assert not matmul.allow_fp16_reduced_precision_reduction
    assert not matmul.allow_bf16_reduced_precision_reduction


def test_bf16_is_refused_below_ampere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: it was accepted, and no kernel of attention was found."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "A GPU")
    with pytest.raises(DeviceError, match=r"needs compute capability 8\.0; A GPU has 7\.5\. Use float16, float32"):
        choose_dtype("bfloat16", torch.device("cuda"), None, lambda _dtype: 0)
