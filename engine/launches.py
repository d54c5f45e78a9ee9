"""Copies and clocks for a device that works asynchronously: nothing waits until a result is asked for.

A GPU copies without making the host wait only to and from pinned memory. On a CPU all is done when a call returns.
"""

import time
from typing import Any

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to `device`, unless it is there, after all work that was launched there before."""
    return _pinned(values, device).to(device, non_blocking=True)


def fill(target: Tensor, values: Tensor) -> None:
    """Copy a tensor into an existing tensor of a device."""
    target.copy_(_pinned(values, target.device), non_blocking=True)


def _pinned(values: Tensor, device: torch.device) -> Tensor:
    """Memory from which a copy to `device` need not wait; PyTorch keeps it until it has been copied."""
    return values.pin_memory() if device.type == "cuda" and values.device.type == "cpu" else values


class Fetched:
    """A tensor being copied to the host, as it is after all work launched before."""

    def __init__(self, values: Tensor) -> None:
        self._values = values
        self._arrived: Any = None
        if values.device.type == "cuda":
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def tolist(self) -> list[Any]:
        """Wait for the copy."""
        if self._arrived is not None:
            self._arrived.synchronize()
        values: list[Any] = self._values.tolist()
        return values


class Stopwatch:
    """Adds up how long a device works, lap by lap. On a GPU it uses CUDA events."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._marks: list[Any] = []  # start and end of each lap

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin a lap."""
        self._mark()

    def stop(self) -> None:
        """End it."""
        self._mark()

    def _mark(self) -> None:
        if self._cuda:
            self._marks.append(torch.cuda.Event(enable_timing=True))
            self._marks[-1].record()
        else:
            self._marks.append(time.monotonic())

    @property
    def finished(self) -> bool:
        """The device has done all laps: `seconds` does not wait."""
        return not self._cuda or bool(self._marks[-1].query())

    def seconds(self) -> float:
        """Sum of all laps; waits until a GPU has finished them."""
        laps = list(zip(self._marks[::2], self._marks[1::2], strict=True))
        if not self._cuda:
            return sum(end - begin for begin, end in laps)
        self._marks[-1].synchronize()
        return sum(begin.elapsed_time(end) for begin, end in laps) / 1000
