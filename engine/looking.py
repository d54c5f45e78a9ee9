"""Whole pages for callers: the blocks on each, and pages turned upright and flattened.

On the caller's event loop. Images are prepared and results read in the engine's background threads; the networks run
on the engine's own, beside prompts and answers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import Image

from engine.errors import EngineUnavailable, InvalidRequest
from engine.fair_queue import FairSemaphore
from engine.handles import Hold
from engine.loop import Loop
from engine.pages import Page
from models.detection import Detection
from models.protocol import PageNetwork

if TYPE_CHECKING:
    from models.layout.networks import PageNetworks

T = TypeVar("T")
PREPARED_PAGES = (
    8  # at once, of all callers, 8 MB each: some more than the device has in a batch, so that it need not wait
)


@dataclass(frozen=True)
class LayoutInfo:
    """What parts pages into blocks, and what else is done to pages."""

    name: str  # the checkpoint folder's
    model_type: str  # its config's: pp_doclayout_v2, _v3 or _v4
    labels: tuple[str, ...]  # all that its blocks may have
    orients: bool  # pages can be turned upright
    unwarps: bool  # pages can be flattened


@dataclass(frozen=True)
class Upright:
    """A page as it is read."""

    image: Image.Image
    angle: int  # degrees, counter-clockwise, by which it was turned: 0, 90, 180 or 270


class Looking:
    """What an engine does to pages. Its methods are called on the event loop of their hold."""

    def __init__(self, loop: Loop, background: Executor) -> None:
        self._loop = loop
        self._background = background
        self._turns = FairSemaphore(PREPARED_PAGES)

    async def find_blocks(self, pages: Sequence[Image.Image], threshold: float, hold: Hold) -> list[list[Detection]]:
        """See `Engine.find_blocks`."""
        network = self._networks(hold).layout
        if network is None:
            raise InvalidRequest("this server has no layout model", "layout")

        async def find(page: Image.Image) -> list[Detection]:
            async with self._turns.turn(hold.client, follows=hold.begun):
                found = await self._look(network, page, hold, threshold)
                return await self._apart(network.detections, found, page)

        return await self._all(find, pages, hold)

    async def upright(self, pages: Sequence[Image.Image], hold: Hold, *, orient: bool, unwarp: bool) -> list[Upright]:
        """See `Engine.upright`."""
        orientation, unwarping = self._networks(hold).orientation, self._networks(hold).unwarping
        if orient and orientation is None:
            raise InvalidRequest("this server has no model that tells the orientation of pages", "orient")
        if unwarp and unwarping is None:
            raise InvalidRequest("this server has no model that flattens pages", "unwarp")

        async def right(page: Image.Image) -> Upright:
            angle = 0
            async with self._turns.turn(hold.client, follows=hold.begun):
                if orient and orientation is not None:
                    angle = await self._look(orientation, page, hold)
                    page = await self._apart(orientation.turned, angle, page)
                if unwarp and unwarping is not None:
                    mesh = await self._look(unwarping, page, hold)
                    page = await self._apart(unwarping.flat, mesh, page)
            return Upright(page, angle)

        return await self._all(right, pages, hold)

    def _networks(self, hold: Hold) -> "PageNetworks":
        """Raises EngineUnavailable."""
        self._loop.check_open(hold)
        assert self._loop.built is not None
        return self._loop.built.runner.look.networks

    async def _all(
        self, work: Callable[[Image.Image], Awaitable[T]], pages: Sequence[Image.Image], hold: Hold
    ) -> list[T]:
        """The result of each page. The first that fails, or the end of the answer, ends the others."""

        async def every() -> list[T]:
            tasks = [asyncio.ensure_future(work(page)) for page in pages]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()

        return await hold.unless_ended(asyncio.ensure_future(every()))

    async def _look(self, network: PageNetwork, page: Image.Image, hold: Hold, threshold: float = 0.0) -> Any:
        """The network's result for a page. Raises EngineError."""
        self._loop.check_open(hold)
        pixels = await self._apart(network.prepare, page)
        self._loop.check_open(hold)  # the thread may have ended meanwhile
        answer = asyncio.get_running_loop().create_future()
        task = Page(network=network, pixels=pixels, threshold=threshold, job=hold, answer=answer)
        self._loop.post(lambda core: core.pages.add(task))
        if self._loop.state in ("dead", "stopped"):  # ended after the check: the inbox is not emptied again
            raise EngineUnavailable("the engine stopped working")
        try:
            return await answer
        finally:
            if not answer.done() or answer.cancelled():
                self._loop.post(lambda core: core.drop_page(task))

    async def _apart(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work` in a background thread."""
        return await asyncio.get_running_loop().run_in_executor(self._background, work, *args)
