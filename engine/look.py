"""The stage in which a network looks at a batch of pages, in slices between those of prefill and decode steps."""

from collections import abc
from typing import Any

import torch
from PIL import Image

from engine.errors import GenerationFailed, UnexpectedFailure
from engine.launches import Stopwatch
from engine.memory import is_shortage
from engine.pace import Slices
from engine.pages import Page
from engine.stats import Totals
from models.layout.loading import LayoutError
from models.layout.networks import PageNetworks
from models.paddleocr_vl.slices import run
from models.protocol import Sliced


class Look:
    """Runs one batch at a time. The pages of a batch that failed come again, each by itself."""

    def __init__(self, networks: PageNetworks, *, at_once: int, slices: Slices, device: torch.device) -> None:
        """`at_once`: pages in a batch, by the memory plan."""
        self.networks = networks
        self.at_once = at_once
        self._slices = slices
        self._device = device
        self._group: list[Page] = []  # pages that `_work` looks at
        self._apart: list[Page] = []  # pages of a batch that failed
        self.failed: list[Page] = []  # those that `advance` was at work on when it raised
        self._work: Sliced[list[Any]] | None = None
        self._watch = Stopwatch(device)

    def advance(self, pages: abc.Sequence[Page], seconds: float, totals: Totals) -> list[tuple[Page, Any]]:
        """Look at a batch for that long; the results of pages whose work is done. Raises what the network raises."""
        try:
            if self._work is None or not any(page in self._group for page in pages):  # done, or all were aborted
                self._work = self._begin(pages)
            with self._watch:
                results = self._slices.advance(self._work, seconds)
        except Exception:
            self.failed = self._group
            if len(self.failed) > 1:
                self._apart = self.failed
            self.drop()
            raise
        if results is None:
            return []
        found = list(zip(self._group, results, strict=True))
        self.drop()
        totals.pages += len(found)
        totals.page_seconds += self._watch.seconds()
        return [(page, result) for page, result in found if page in pages]

    def drop(self) -> None:
        """End the work on the last batch."""
        if self._work is not None:
            self._work.close()
        self._work, self._group = None, []

    def try_out(self) -> None:
        """Look at an empty page with every network, in the largest batch. Raises what a network raises."""
        self.drop()
        blank = Image.new("RGB", (8, 8), "white")
        for network in self.networks:
            pixels = network.prepare(blank).expand(self.at_once, -1, -1, -1)
            run(network.run_sliced(pixels, [1.0] * self.at_once))

    def _begin(self, pages: abc.Sequence[Page]) -> Sliced[list[Any]]:
        self.drop()
        self.failed = []
        self._apart = [page for page in self._apart if page in pages]
        self._group = list(pages[:1] if pages[0] in self._apart else pages)
        self._slices.begin()
        self._watch = Stopwatch(self._device)
        pixels = torch.cat([page.pixels for page in self._group])
        return self._group[0].network.run_sliced(pixels, [page.threshold for page in self._group])


def page_failure(error: Exception) -> GenerationFailed:
    """What the caller of a page that failed by itself gets."""
    if is_shortage(error):
        return GenerationFailed("the device ran out of memory while looking at the page; try again later")
    return GenerationFailed(str(error)) if isinstance(error, LayoutError) else UnexpectedFailure()
