"""The end of a worker: between two steps of every job, and with no page asked for in vain."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Drain:
    """Counts steps that are under way. Lives in the event loop of the workflows; `wanted` may be set from anywhere."""

    def __init__(self) -> None:
        self.wanted = False
        self.running = 0  # steps that work; those that wait for their turn can be left
        self._never = asyncio.Event()

    @asynccontextmanager
    async def step(self) -> AsyncIterator[None]:
        """Around a step with its checkpoint. Once the worker drains, none begins: the job goes on later."""
        await self.hold()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Around a wait within a step."""
        self.running -= 1
        try:
            yield
        finally:
            self.running += 1

    async def hold(self) -> None:
        """Wait for the end of the process, once the worker drains."""
        if self.wanted:
            await self._never.wait()
