"""What callers hold: an answer under way, and the events of each of its prompts.

They live on the caller's event loop; what they ask of the engine takes effect on its thread.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, TypeVar

from engine.errors import DeadlineExceeded, EngineError
from engine.request import Deadline, Job, Sequence, Times, TokenEvent

if TYPE_CHECKING:
    from engine.engine import Engine

T = TypeVar("T")


class Generation:
    """One submitted request: an async stream of TokenEvents, closed by one whose `last` is true."""

    def __init__(self, engine: "Engine", sequence: Sequence, events: "asyncio.Queue[TokenEvent]") -> None:
        """`events`: where the sequence's are delivered."""
        self.prompt_tokens = len(sequence.prompt.input_ids)
        self._engine = engine
        self._sequence = sequence
        self._events = events

    async def __aiter__(self) -> AsyncIterator[TokenEvent]:
        """Events up to and with the last. Raises the EngineError that ended the request, if one did."""
        while True:
            event = await self._events.get()
            if event.error is not None:
                raise event.error
            yield event
            if event.last:
                return

    @property
    def times(self) -> Times:
        """So far. Read beside the thread that writes them: a time may be there whose event is still to come."""
        s = self._sequence
        return Times(s.submitted_at, s.scheduled_at, s.encoded_at, s.began_at, s.token_at)

    def abort(self) -> None:
        """Give up: takes effect no later than the end of the step already launched. Harmless once finished."""
        self._engine.abort(self._sequence)


class Hold(Job):
    """An answer under way: a draining engine goes on, and takes its further prompts, until it is released.

    By then nothing is left of it: neither places, nor bytes, nor prompts that wait or run.
    """

    def __init__(self, engine: "Engine", places: int, client: str, deadline: Deadline | None) -> None:
        super().__init__(client, deadline)
        self.places = places  # let in for prompts that are still to come
        self.image_bytes = 0  # that go to the next prompts
        self.loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[EngineError] = self.loop.create_future()
        """Why the engine takes nothing more of it, although it is not released."""
        self._engine = engine
        self._timer: asyncio.TimerHandle | None = None
        if deadline is not None:
            late = DeadlineExceeded(deadline.seconds)
            self._timer = self.loop.call_later(deadline.at - time.monotonic(), self._end, late)

    def reserve_bytes(self, count: int) -> None:
        """Images of its next prompts are in memory, in so many bytes, until those are read. Raises QueueFull."""
        self._engine.admission.reserve_bytes(self, count)
        self.image_bytes += count

    def turn(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Its turn to open images."""
        return self._engine.image_turns.turn(self.client, follows=self.begun)

    async def unless_ended(self, work: "asyncio.Task[T]") -> T:
        """The outcome of `work`, which is cancelled where the answer is over before. Raises what ended it, too."""
        first: set[asyncio.Future[Any]] = {work, self.ended}
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise self.ended.result()
            return work.result()
        finally:
            work.cancel()

    def release(self) -> None:
        """Harmless a second time. Called on its event loop."""
        if self._timer is not None:
            self._timer.cancel()
        self._engine.let_go(self)

    def end(self, error: EngineError) -> None:
        """From any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there
            self.loop.call_soon_threadsafe(self._end, error)

    def _end(self, error: EngineError) -> None:
        if not self.ended.done():
            self.ended.set_result(error)
