"""Times of work on a device, in milliseconds."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

REPETITIONS = 5
REPLAYS = 4  # in one measurement, so that waiting for the last one is little beside them


class Clock:
    """The clock of one device. A CPU works in step with its caller, so there is nothing to wait for or to capture."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._cuda = device.type == "cuda"

    def wait(self) -> None:
        """Return once the device has done all that was launched."""
        if self._cuda:
            torch.cuda.synchronize(self.device)

    @torch.inference_mode()
    def once(self, work: Callable[[], Any]) -> float:
        self.wait()
        started = time.perf_counter()
        work()
        self.wait()
        return (time.perf_counter() - started) * 1e3

    def median(self, work: Callable[[], Any], repetitions: int = REPETITIONS) -> float:
        """Median of some runs, after one to warm up."""
        self.once(work)
        return round(statistics.median(self.once(work) for _ in range(repetitions)), 4)

    @torch.inference_mode()
    def by_graph(self, works: Sequence[Callable[[], Any]]) -> float:
        """One pass of all works, launched as one CUDA graph: the device's own time, without that of the launches."""
        if not self._cuda:
            return self.median(lambda: [work() for work in works])
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):  # work that cannot run at all fails here: a failed capture would harm the process
            works[0]()
            works[-1]()
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for work in works:
                work()
        took = self.median(lambda: repeat(graph.replay, REPLAYS))
        graph.reset()
        return round(took / REPLAYS, 4)


def repeat(work: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        work()
