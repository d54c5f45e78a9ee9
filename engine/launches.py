"""Copies and clocks for a device that works behind its launches: nothing waits, but where a result is asked for.

A GPU copies without making the host wait only to and from pinned memory. On a CPU all is done when a call returns.
"""

import time
from typing import Any

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """A CPU's tensor on `device`, behind all that was launched there before."""
    return _pinned(values, device).to(device, non_blocking=True)


def fill(place: Tensor, values: Tensor) -> None:
    """Put a CPU's tensor into the place that a device's tensor has."""
    place.copy_(_pinned(values, place.device), non_blocking=True)


def _pinned(values: Tensor, device: torch.device) -> Tensor:
    """What a copy to `device` need not wait for; PyTorch keeps it until it has been read."""
    return values.pin_memory() if device.type == "cuda" else values


class Fetched:
    """A device's tensor on its way to the host, as it is when all launched before is done."""

    def __init__(self, values: Tensor) -> None:
        self._values = values
        self._there: Any = None
        if values.device.type == "cuda":
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._there = torch.cuda.Event()
            self._there.record()

    def tolist(self) -> list[Any]:
        """Waits until it is there."""
        if self._there is not None:
            self._there.synchronize()
        values: list[Any] = self._values.tolist()
        return values


class Stopwatch:
    """Adds up how long a device works, lap by lap. A GPU is asked by its own events."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._marks: list[Any] = []  # beginnings and ends by turns

    def __enter__(self) -> None:
        self._mark()

    def __exit__(self, *_: object) -> None:
        self._mark()

    def _mark(self) -> None:
        if self._cuda:
            self._marks.append(torch.cuda.Event(enable_timing=True))
            self._marks[-1].record()
        else:
            self._marks.append(time.monotonic())

    def seconds(self) -> float:
        """Of all laps; waits until a GPU has done them."""
        laps = list(zip(self._marks[::2], self._marks[1::2], strict=True))
        if not self._cuda:
            return sum(end - begin for begin, end in laps)
        self._marks[-1].synchronize()
        return sum(begin.elapsed_time(end) for begin, end in laps) / 1000
