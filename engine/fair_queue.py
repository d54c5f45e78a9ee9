"""Round-robin by client, so that no client waits for all requests of another: a queue, and a semaphore on top of it."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import chain
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Waiting items, served round-robin by client and first come, first served within a client."""

    def __init__(self) -> None:
        self._queues: dict[str, ClientQueue[T]] = {}  # by client, in the order of their turns
        self._served: str | None = None  # the client served last; at the next turn it moves to the end

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self._queues.values())

    def add(self, one: T, client: str, *, follows: bool = False) -> None:
        """`follows`: part of an answer that has begun; it goes before its client's items that are not."""
        queue = self._queues.setdefault(client, ClientQueue())
        (queue.following if follows else queue.new).append(one)

    def first(self) -> T:
        """The item whose turn it is. The queue must not be empty."""
        if self._served in self._queues:
            self._queues[self._served] = self._queues.pop(self._served)
        self._served = None
        return next(iter(self))

    def pop(self) -> T:
        """Remove and return the first item."""
        one = self.first()
        client = next(iter(self._queues))
        self.remove(one, client)
        self._served = client
        return one

    def remove(self, one: T, client: str) -> None:
        """Raises ValueError if it is not in the queue."""
        queue = self._queues.get(client, ClientQueue[T]())
        (queue.following if one in queue.following else queue.new).remove(one)
        if not queue.following and not queue.new:
            del self._queues[client]


class ClientQueue(Generic[T]):
    """The items of one client."""

    def __init__(self) -> None:
        self.following: deque[T] = deque()
        self.new: deque[T] = deque()

    def __iter__(self) -> Iterator[T]:
        return chain(self.following, self.new)


class FairSemaphore:
    """Limits concurrency to `count`, round-robin by client. From any event loop."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()
        self._lock = threading.Lock()

    @asynccontextmanager
    async def turn(self, client: str, *, follows: bool = False) -> AsyncIterator[None]:
        await self._enter(client, follows)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, client: str, follows: bool) -> None:
        with self._lock:
            if self._free:  # then the queue is empty
                self._free -= 1
                return
            admitted = asyncio.get_running_loop().create_future()
            self._waiting.add(admitted, client, follows=follows)
        try:
            await admitted
        except asyncio.CancelledError:
            if not self._withdraw(admitted, client):
                self._leave()  # it was admitted at the same time
            raise

    def _withdraw(self, admitted: "asyncio.Future[None]", client: str) -> bool:
        """Leave the queue; False where it is no longer in it."""
        with self._lock:
            try:
                self._waiting.remove(admitted, client)
            except ValueError:
                return False
            return True

    def _leave(self) -> None:
        """Admit the next one in the queue."""
        with self._lock:
            while self._waiting:
                admitted = self._waiting.pop()
                try:
                    admitted.get_loop().call_soon_threadsafe(_admit, admitted)
                    return
                except RuntimeError:  # its loop is closed: no task waits there
                    continue
            self._free += 1


def _admit(admitted: "asyncio.Future[None]") -> None:
    if not admitted.done():
        admitted.set_result(None)
