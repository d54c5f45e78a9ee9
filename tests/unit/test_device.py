"""Choice of a worker's GPU. The GPUs are fakes; nothing runs on them."""

import pytest
import torch

from engine.device import DeviceError, choose_device


@pytest.fixture
def current(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """The devices that were made current, in order, on a machine with two GPUs."""
    made: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", made.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (6, 1))
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
