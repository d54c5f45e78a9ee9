"""Pages that networks look at before prompts are made of them: which wait, and which are in work together.

Changed on the engine's thread alone.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from engine.errors import EngineError
from engine.fair_queue import FairQueue
from engine.request import Job
from models.protocol import PageNetwork


@dataclass(eq=False, frozen=True, kw_only=True)
class Page:
    """One page that a network is to look at."""

    network: PageNetwork
    pixels: Any  # as the network's `prepare` returns them
    threshold: float  # blocks that score less are left out; 0 to 1
    job: Job
    answer: "asyncio.Future[Any]"  # on the caller's event loop

    def settle(self, outcome: Any) -> None:
        """Give the caller the network's result, or an EngineError to raise; None: cancel. From any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits there
            self.answer.get_loop().call_soon_threadsafe(_settle, self.answer, outcome)


def _settle(answer: "asyncio.Future[Any]", outcome: Any) -> None:
    if answer.done():  # cancelled meanwhile
        return
    if outcome is None:
        answer.cancel()
    elif isinstance(outcome, EngineError):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


class Pages:
    """The pages in an engine. Clients take turns; the next batch is of one network."""

    def __init__(self, at_once: int) -> None:
        """`at_once`: pages of a batch at most."""
        self._at_once = at_once
        self._waiting: FairQueue[Page] = FairQueue()
        self._batch: list[Page] = []

    def __contains__(self, page: Page) -> bool:
        return page in iter(self)

    def __iter__(self) -> Iterator[Page]:
        return chain(self._batch, self._waiting)

    @property
    def idle(self) -> bool:
        return not self._batch and not self._waiting

    def add(self, page: Page) -> None:
        self._waiting.add(page, page.job.client, follows=page.job.begun)

    def schedule(self) -> list[Page]:
        """The pages of the batch in work, which is the same one until all of them are removed."""
        if not self._batch:
            while self._waiting and len(self._batch) < self._at_once:
                if self._batch and self._waiting.first().network is not self._batch[0].network:
                    break
                self._batch.append(self._waiting.pop())
        return list(self._batch)

    def remove(self, page: Page) -> None:
        if page in self._batch:
            self._batch.remove(page)
        else:
            self._waiting.remove(page, page.job.client)
