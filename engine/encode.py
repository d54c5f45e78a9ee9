"""The encode stage: images -> features. A few small images by a CUDA graph: their launches take longer than their work.

A graph serves any images of up to as many patches as it was captured for. What depends on their shapes stays outside:
the embedding of patches with their positions, and merging them into features. Where images end is told on the device.
"""

import logging
import time
from collections import abc
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor

from engine.cuda_graphs import Graphs
from models.paddleocr_vl.slices import run
from models.protocol import Grid, Network, Patches, Sliced

logger = logging.getLogger(__name__)

PATCHES = (256, 512, 768, 1024, 1536)  # graphs' sizes; images of more patches keep a fast GPU busy as they are launched
MAX_IMAGES = 16  # in a graph
TRIED: Grid = (16, 28)  # the image by which graphs are compared with launches
REPETITIONS = 3
CLEARLY_FASTER = 1.2


class Encode:
    """Computes the features of images by the vision tower of `model`."""

    def __init__(self, model: Network, rows: int, device: torch.device, graphs: Graphs | None = None) -> None:
        """In slices of at most `rows` patches; `graphs`: None where FlashAttention, or memory for them, is missing."""
        self.model, self.rows, self.device, self.graphs = model, rows, device, graphs

    def run_sliced(self, pixels: Tensor, grids: abc.Sequence[Grid]) -> Sliced[list[Tensor]]:
        """Features of each image, (image tokens, hidden); pixels: (N, channels, patch, patch)."""
        hidden = self._replayed(pixels, grids)
        if hidden is None:
            return (yield from self.model.encode_sliced(pixels, grids, self.rows))
        features = self.model.features(hidden, grids)  # before another graph, such as a decode step's, runs
        yield
        return features

    def prepare(self) -> None:
        """Capture the graphs, and keep them where launches take longer than their work.

        Elsewhere a graph would only hold decode steps up for as long as it takes.
        """
        if self.graphs is None:
            return
        for size in PATCHES:
            if not self.graphs.prepare(size, self._work, partial(self._idle, size)):
                break
        image = torch.zeros(TRIED[0] * TRIED[1], *self.model.pixel_shape, device=self.device)
        by_graph = self._milliseconds(image)
        graphs, self.graphs = self.graphs, None
        launched = self._milliseconds(image)
        logger.info("An image of %d patches: %.2f ms by a graph, %.2f by launches", len(image), by_graph, launched)
        if CLEARLY_FASTER * by_graph < launched:
            self.graphs = graphs

    def _replayed(self, pixels: Tensor, grids: abc.Sequence[Grid]) -> Tensor | None:
        """Hidden states (N, hidden) by a graph, valid until any graph runs; None where no graph can be used."""
        size = next((size for size in PATCHES if size >= len(pixels)), None)
        if self.graphs is None or size is None or len(grids) > MAX_IMAGES or not self.graphs.can_run(size):
            return None
        ends = list(accumulate((rows * columns for rows, columns in grids), initial=0))
        ends += ends[-1:] * (MAX_IMAGES + 1 - len(ends))
        patches = self.model.embed_patches(pixels, grids)
        inputs = [*patches, torch.tensor(ends, dtype=torch.int32)]
        hidden: Tensor | None = self.graphs.run(size, self._work, inputs, partial(self._idle, size))
        return None if hidden is None else hidden[: len(pixels)]

    def _work(self, x: Tensor, cos: Tensor, sin: Tensor, ends: Tensor) -> Tensor:
        return self.model.encode_patches(Patches(x, cos, sin), ends)

    def _idle(self, size: int) -> list[Tensor]:
        """Inputs of a graph: `size` patches of one image."""
        pixels = torch.zeros(4, *self.model.pixel_shape, device=self.device)
        patches = self.model.embed_patches(pixels, [(2, 2)])
        ends = torch.full((MAX_IMAGES + 1,), size, dtype=torch.int32)
        ends[0] = 0
        return [*(values[:1].expand(size, *values.shape[1:]).contiguous() for values in patches), ends]

    def _milliseconds(self, image: Tensor) -> float:
        """The best time of an image, with the host's."""
        took = []
        for _ in range(REPETITIONS):
            started = time.perf_counter()
            run(self.run_sliced(image, [TRIED]))
            torch.cuda.synchronize(image.device)
            took.append(time.perf_counter() - started)
        return min(took) * 1e3
