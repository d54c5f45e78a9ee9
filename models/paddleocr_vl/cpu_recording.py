"""Calls of compiled functions for CPUs, one by one, or recorded once and then run in one go.

To run one on all threads takes a call from Python, and wakes the others, 90 times in a decode step. What was recorded
is run by threads that stay awake and wait for each other only where they must.
"""

import ctypes
import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.paddleocr_vl.llvm import INT64, POINTER, VOID, Body, Module, number


class Stage(ctypes.Structure):
    """A part of a recorded call, which every thread runs for its share."""

    _fields_ = [
        ("function", ctypes.c_void_p),
        ("parameters", ctypes.c_void_p),
        ("waits", ctypes.c_int64),  # 1: until all threads have done what was before
    ]


class Parameters(ctypes.Structure):
    """Stages, in order."""

    _fields_ = [("stages", ctypes.c_void_p), ("count", ctypes.c_int64), ("threads", ctypes.c_int64)]


class Part(NamedTuple):
    """A compiled function that does one thread's share."""

    function: Any  # from ctypes
    by_rows: bool  # threads share the rows of a step; else something else


@dataclass(frozen=True)
class Kernel:
    """A compiled function of one structure of parameters, and its parts in order."""

    function: Callable[[Any], None]
    parts: Sequence[Part]

    def __call__(self, parameters: ctypes.Structure, *tensors: Tensor | None) -> None:
        """`tensors`: those whose memory it reads and writes."""
        recording = _current.recording
        if recording is None:
            self.function(ctypes.byref(parameters))
        else:
            recording.add(self.parts, parameters, tensors)


class Recording:
    """Calls that can be run again, on the memory that they were recorded with."""

    def __init__(self) -> None:
        self._stages: list[Stage] = []
        self._by_rows = False  # the last stage
        self._kept: list[object] = []
        self._arrays: list[Tensor] = []
        self._used = 0  # arrays, since memory is used again

    def __enter__(self) -> "Recording":
        _current.recording = self
        return self

    def __exit__(self, *_: object) -> None:
        _current.recording = None
        self._array = (Stage * len(self._stages))(*self._stages)
        self._parameters = Parameters(ctypes.addressof(self._array), len(self._stages), torch.get_num_threads())

    def add(
        self,
        parts: Sequence[Part],
        parameters: ctypes.Structure,
        tensors: Sequence[Tensor | None],
    ) -> None:
        self._kept += [parameters, *parts, tensors]
        for function, by_rows in parts:
            waits = not (by_rows and self._by_rows)  # a thread has the same rows again, and need not wait for others
            address = ctypes.cast(function, ctypes.c_void_p).value
            self._stages.append(Stage(address, ctypes.addressof(parameters), waits))
            self._by_rows = by_rows

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """An array; after `use_again` one that was made before, where calls are like those of then."""
        if self._used == len(self._arrays):
            self._arrays.append(torch.empty(shape, dtype=dtype))
        found = self._arrays[self._used]
        assert (*found.shape, found.dtype) == (*shape, dtype)
        self._used += 1
        return found

    def use_again(self) -> None:
        """Let the next calls write where earlier ones did, from the first on; what these wrote last is read before."""
        self._used = 0

    def run(self) -> None:
        run_stages()(ctypes.byref(self._parameters))


class _Current(threading.local):
    recording: Recording | None = None


_current = _Current()


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """An array for a kernel, which lasts as long as a recording."""
    return torch.empty(shape, dtype=dtype) if _current.recording is None else _current.recording.empty(shape, dtype)


@functools.cache
def run_stages() -> Callable[[Any], None]:
    """Raises RuntimeError where it cannot be compiled."""
    module = Module(Parameters)
    module.add_on_threads("run", module.add("part", _run))
    module.compile()
    return module.function("run")


def _run(b: Body) -> None:
    """All stages, this thread's share."""
    sizes = ctypes.sizeof(Stage) // ctypes.sizeof(ctypes.c_int64)
    with b.loop(number(0), b.count, number(1)) as index:
        stage = b.at(b.stages, b.mul(index, number(sizes)), INT64)
        with b.if_then(b.icmp_signed("!=", b.read(stage, number(2), INT64), number(0))):
            b.call_named("GOMP_barrier", VOID)
        b.call_at(b.at(stage, number(0), POINTER), b.read(stage, number(1), POINTER))
