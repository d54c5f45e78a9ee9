"""Capture and replay of decode steps on a GPU: the hundreds of launches of a step become one.

A graph works at the addresses that it was captured with. So its inputs and outputs are tensors that last, and all
graphs share one memory pool for what is temporary. The outputs of a replay have been read, or are read by work already
launched after it, before the next replay. Triton is not involved; compute capability 6.0 is enough.
"""

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine.launches import fill, to_device
from engine.memory import GRAPHS_BYTES, MIB, is_shortage

logger = logging.getLogger(__name__)

MIN_BYTES = 2 * MIB  # counted for a graph at least: the driver allocates its part late
SECONDS_WITHOUT = 30.0  # before the next capture, after there was no room for a graph


class Captured(NamedTuple):
    """Work that can be replayed."""

    replay: Callable[[], None]
    outputs: Any  # tensors that each replay writes to
    bytes: int


Capture = Callable[[Callable[[], Any]], Captured]
"""Runs some work whose writes do not matter, and records it for replay."""


@dataclass
class Graph:
    """Captured work and the tensor that its inputs are copied to."""

    inputs: Tensor
    captured: Captured


class Graphs:
    """Captured graphs by key; the least recently used ones are dropped beyond a limit on their memory."""

    def __init__(self, capture: Capture, device: torch.device, max_bytes: int = GRAPHS_BYTES) -> None:
        self._capture = capture
        self._device = device
        self._max_bytes = max_bytes
        self._graphs: OrderedDict[Hashable, Graph] = OrderedDict()
        self._not_before = 0.0  # monotonic seconds: when the next graph may be captured

    def run(self, key: Hashable, work: Callable[[Tensor], Any], inputs: Tensor, idle: Tensor) -> Any:
        """The result of `work` for `inputs`, a CPU tensor; None where it cannot be captured, or not now.

        Work of the same key is the same, with inputs of the same shape. It is captured with `idle` inputs, with which
        it must write to nothing that matters. The result is valid until the next run.
        """
        graph = self._graphs.pop(key, None) or self._captured(work, idle)
        if graph is None:
            return None
        self._graphs[key] = graph
        fill(graph.inputs, inputs)
        graph.captured.replay()
        return graph.captured.outputs

    def _captured(self, work: Callable[[Tensor], Any], idle: Tensor) -> Graph | None:
        if time.monotonic() < self._not_before:
            return None
        static = to_device(idle, self._device)
        try:
            graph = Graph(static, self._capture(lambda: work(static)))
        except RuntimeError as error:
            if is_shortage(error):
                logger.warning("There is no room for another CUDA graph: %s", error)
                self._not_before = time.monotonic() + SECONDS_WITHOUT
            else:  # a driver or a kernel without support for capture; everything else works
                logger.warning("Decoding goes on without CUDA graphs, which do not work here: %s", error)
                self._not_before = math.inf
            return None
        while self._graphs and self._bytes + graph.captured.bytes > self._max_bytes:
            self._graphs.popitem(last=False)
        return graph

    @property
    def _bytes(self) -> int:
        return sum(graph.captured.bytes for graph in self._graphs.values())


class GpuCapture:
    """`Capture` for a CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)

    def __call__(self, work: Callable[[], Any]) -> Captured:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        try:
            with torch.cuda.stream(self._stream):
                work()  # libraries load their kernels and allocate what they need, which no capture may do
        finally:
            current.wait_stream(self._stream)
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()  # as capturing does, which would hide how much memory the graph needs
        free = torch.cuda.mem_get_info(self._device)[0]
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may call the driver meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                outputs = work()
        finally:
            torch.cuda.set_stream(current)  # a failed capture does not restore it
        used = free - torch.cuda.mem_get_info(self._device)[0]
        return Captured(graph.replay, outputs, max(MIN_BYTES, used))


def graphs_for(device: torch.device, max_bytes: int) -> Graphs | None:
    """None where the device works in step with the host."""
    return Graphs(GpuCapture(device), device, max_bytes) if device.type == "cuda" else None
