"""What callers hold: an answer in progress, and the events of each of its prompts.

Handles live on the caller's event loop; what they ask of the engine takes effect on its thread.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from engine.admission import Admission
from engine.errors import DeadlineExceeded, EngineError
from engine.fair_queue import FairSemaphore
from engine.request import Deadline, Job, Sequence, Times, TokenEvent

T = TypeVar("T")


class Generation:
    """One submitted request: an async stream of TokenEvents, closed by one whose `last` is true."""

    def __init__(
        self, *, sequence: Sequence, events: "asyncio.Queue[TokenEvent]", abort: Callable[[Sequence], None]
    ) -> None:
        """`events`: where the events of `sequence` are delivered."""
        self.prompt_tokens = len(sequence.prompt.input_ids)
        self._sequence = sequence
        self._events = events
        self._abort = abort

    async def __aiter__(self) -> AsyncIterator[TokenEvent]:
        """Events up to and including the last. Raises the EngineError that ended the request, if any."""
        while True:
            event = await self._events.get()
            if event.error is not None:
                raise event.error
            yield event
            if event.last:
                return

    @property
    def times(self) -> Times:
        """Times so far. The engine's thread writes them concurrently: a time may be set before its event arrives."""
        s = self._sequence
        return Times(
            submitted=s.submitted_at,
            scheduled=s.scheduled_at,
            encoded=s.encoded_at,
            began=s.began_at,
            newest=s.token_at,
        )

    def abort(self) -> None:
        """Cancel: takes effect no later than the end of the step already launched. Harmless once finished."""
        self._abort(self._sequence)


class Hold(Job):
    """An answer in progress: a draining engine still serves its further prompts until it is released.

    Releasing it frees its places in the queue and its bytes, and cancels its prompts that wait or run.
    """

    def __init__(
        self,
        *,
        places: int,
        client: str,
        deadline: Deadline | None,
        streamed: bool,
        admission: Admission,
        image_turns: FairSemaphore,
        on_release: Callable[["Hold"], None],
    ) -> None:
        """`places`: prompts that are admitted already. `on_release` must allow a second call."""
        super().__init__(client, deadline, streamed)
        self.places = places  # admitted for prompts that are still to come
        self.image_bytes = 0  # reserved for the images of the next prompts
        self.loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[EngineError] = self.loop.create_future()
        """Why the engine accepts no more of it, although it is not released."""
        self._admission = admission
        self._image_turns = image_turns
        self._on_release = on_release
        self._timer: asyncio.TimerHandle | None = None
        if deadline is not None:
            late = DeadlineExceeded(deadline.seconds)
            self._timer = self.loop.call_later(deadline.at - time.monotonic(), self._end, late)

    def reserve_bytes(self, count: int) -> None:
        """Count the bytes of images for its next prompts until those are prefilled. Raises QueueFull."""
        self._admission.reserve_bytes(self, count)
        self.image_bytes += count

    def spend_places(self, count: int) -> bool:
        """Use `count` of the places for prompts that are submitted now; False, and no change, where it has fewer."""
        if self.places < count:
            return False
        self.places -= count
        return True

    def spend_bytes(self) -> int:
        """Pass the bytes reserved so far on to the prompts that are submitted now."""
        count, self.image_bytes = self.image_bytes, 0
        return count

    def turn(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Wait for its turn to open images."""
        return self._image_turns.turn(self.client, follows=self.begun)

    async def unless_ended(self, work: "asyncio.Task[T]") -> T:
        """The outcome of `work`, which is cancelled if the answer ends first. Raises also what ended the answer."""
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
        self._admission.leave(self, self.places)
        self._admission.release_bytes(self, self.image_bytes)
        self.places = self.image_bytes = 0
        self._on_release(self)

    def end(self, error: EngineError) -> None:
        """Set `ended`, from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits there
            self.loop.call_soon_threadsafe(self._end, error)

    def _end(self, error: EngineError) -> None:
        if not self.ended.done():
            self.ended.set_result(error)
