"""Times of work on a GPU, for choices at start."""

import logging
from collections.abc import Callable
from typing import Any

import torch

from engine.cuda_graphs import GpuCapture
from engine.launches import Stopwatch

logger = logging.getLogger(__name__)

REPETITIONS = 3


class Timer:
    """Times work on a GPU as decode steps run there: by a graph, unless graphs do not work or are turned off."""

    def __init__(self, device: torch.device, capture: GpuCapture | None) -> None:
        self.device = device
        self._capture = capture

    def seconds(self, work: Callable[[], Any]) -> float:
        """The best of a few runs; inf where it cannot run."""
        try:
            work()  # loads kernels; and what cannot run must not fail in a capture
            torch.cuda.synchronize(self.device)
        except RuntimeError as error:
            logger.debug("It cannot run here: %s", error)
            return float("inf")
        replay = self._graph_of(work)
        took = []
        for _ in range(REPETITIONS):
            watch = Stopwatch(self.device)
            with watch:
                replay()
            took.append(watch.seconds())
        if self._capture is not None:
            self._capture.renew_pool()
        return min(took)

    def _graph_of(self, work: Callable[[], Any]) -> Callable[[], Any]:
        if self._capture is not None:
            try:
                return self._capture(work).replay
            except RuntimeError as error:
                logger.warning("Decode steps are timed without CUDA graphs: %s", error)
                self._capture = None
        return work
