"""Capture and replay of decode steps on a GPU: the hundreds of launches of a step become one.

The common steps are captured before the engine is ready, all others when they first occur.

A graph works at the addresses that it was captured with. So its inputs and outputs are tensors that last, and all
graphs share one memory pool for what is temporary. The outputs of a replay have been read, or are read by work already
launched after it, before the next replay. Triton is not involved; compute capability 6.0 is enough.
"""

import contextlib
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine.launches import fill, to_device
from engine.memory import GRAPHS_BYTES, MIB, is_shortage, release_cached

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
    """Captured work and the tensors that its inputs are copied to."""

    inputs: tuple[Tensor, ...]
    captured: Captured


class Graphs:
    """Captured graphs by key; the least recently used ones are dropped beyond a limit on their memory."""

    def __init__(self, capture: Capture | None, device: torch.device, max_bytes: int = GRAPHS_BYTES) -> None:
        """`capture`: None captures nothing, and every step is launched operation by operation."""
        self._capture = capture
        self._device = device
        self._max_bytes = max_bytes
        self._graphs: OrderedDict[Hashable, Graph] = OrderedDict()
        self._not_before = 0.0  # monotonic seconds: when the next graph may be captured

    def run(
        self, key: Hashable, work: Callable[..., Any], inputs: Sequence[Tensor], idle: Callable[[], Sequence[Tensor]]
    ) -> Any:
        """The result of `work` for `inputs`, on the CPU or the device; None where it cannot be captured, or not now.

        Work of the same key is the same. It is captured with `idle` inputs, with which it must write to nothing that
        matters; later inputs may be shorter, and leave the rest of the last ones behind them. The result is valid until
        the next run of any graph, since all share one pool.
        """
        graph = self._graphs.pop(key, None) or self._captured(work, idle)
        if graph is None:
            return None
        self._graphs[key] = graph
        for target, values in zip(graph.inputs, inputs, strict=True):
            fill(target[: len(values)], values)
        graph.captured.replay()
        return graph.captured.outputs

    def can_run(self, key: Hashable) -> bool:
        """The work of this key has a graph, or one may be captured now."""
        return key in self._graphs or (self.captures and time.monotonic() >= self._not_before)

    @property
    def captures(self) -> bool:
        """Graphs are captured at all."""
        return self._capture is not None

    def prepare(self, key: Hashable, work: Callable[..., Any], idle: Callable[[], Sequence[Tensor]]) -> bool:
        """Capture the work of a later `run`; False where there is no room, unless another graph were dropped."""
        if key in self._graphs:
            return True
        if self._bytes + MIN_BYTES > self._max_bytes:
            return False
        graph = self._captured(work, idle)
        if graph is not None:
            self._graphs[key] = graph
        return graph is not None

    def _captured(self, work: Callable[..., Any], idle: Callable[[], Sequence[Tensor]]) -> Graph | None:
        if self._capture is None or time.monotonic() < self._not_before:
            return None
        try:
            static = tuple(to_device(values, self._device) for values in idle())
            graph = Graph(static, self._capture(lambda: work(*static)))
        except RuntimeError as error:
            if is_shortage(error):
                logger.warning("There is no room for another CUDA graph: %s", error)
                self._not_before = time.monotonic() + SECONDS_WITHOUT
            else:
                # A driver or a kernel without support for capture; everything else works. The process lives on, as
                # its capture has been ended (`GpuCapture._end_failed`). A worker that takes over is told nothing: it
                # would try the model out first, and fail here before it is ready, at the cost of one step.
                logger.warning(
                    "All goes on without CUDA graphs, which do not work here (CUDA_GRAPHS=0 does not try): %s", error
                )
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
        self._warm_up(work)
        try:
            return self._record(work)
        except RuntimeError as error:
            if not is_shortage(error):
                raise
        # A capture takes no memory that other work has left in the allocator's cache, and cannot empty it.
        torch.cuda.synchronize(self._device)
        release_cached()
        return self._record(work)

    def _warm_up(self, work: Callable[[], Any]) -> None:
        """Let libraries load their kernels and allocate what they need, which no capture may do."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        try:
            with torch.cuda.stream(self._stream):
                work()
        finally:
            current.wait_stream(self._stream)

    def _record(self, work: Callable[[], Any]) -> Captured:
        """Capture without `torch.cuda.graph`, which would wait for the device and empty the allocator's cache."""
        free = torch.cuda.mem_get_info(self._device)[0]
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.stream(self._stream):
                # Other threads may call the driver meanwhile.
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    outputs = work()
                finally:
                    graph.capture_end()
        except RuntimeError:
            self._end_failed()
            raise
        used = free - torch.cuda.mem_get_info(self._device)[0]
        return Captured(graph.replay, outputs, max(MIN_BYTES, used))

    def _end_failed(self) -> None:
        """End a capture in PyTorch's allocator too, which `capture_end` leaves out where the driver reports a failure.

        Else the allocator would refuse to return cached memory, and no longer free any before it reports a shortage.
        """
        with contextlib.suppress(RuntimeError):  # it has been ended: the work failed, and not its capture
            torch._C._cuda_endAllocateToPool(self._device.index or 0, self._pool)
        self.renew_pool()

    def renew_pool(self) -> None:
        """Take another pool, where no graph of the last one lives: PyTorch does not capture into such a pool again."""
        self._pool = torch.cuda.graph_pool_handle()


def graphs_for(device: torch.device, capture: GpuCapture | None, max_bytes: int) -> Graphs | None:
    """None where the device works in step with the host."""
    return Graphs(capture, device, max_bytes) if device.type == "cuda" else None
