"""Clients take turns: nobody waits for another client's rush. Who waits, and a bound on work at once by such turns."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import chain
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Those who wait: clients one after another, of each who came first."""

    def __init__(self) -> None:
        self._lines: dict[str, ClientQueue[T]] = {}  # client -> who waits; in the order of their turns
        self._served: str | None = None  # had its turn last, and goes behind all that are there at the next one

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self._lines.values())

    def add(self, one: T, client: str, *, follows: bool = False) -> None:
        """`follows`: it goes before those of its client that do not, as part of an answer that has begun."""
        line = self._lines.setdefault(client, ClientQueue())
        (line.following if follows else line.new).append(one)

    def first(self) -> T:
        """Whose turn it is. There must be somebody."""
        if self._served in self._lines:
            self._lines[self._served] = self._lines.pop(self._served)
        self._served = None
        return next(iter(self))

    def pop(self) -> T:
        """Who is first, and no longer waits."""
        one = self.first()
        client = next(iter(self._lines))
        self.remove(one, client)
        self._served = client
        return one

    def remove(self, one: T, client: str) -> None:
        """Raises ValueError if it does not wait."""
        line = self._lines.get(client, ClientQueue[T]())
        (line.following if one in line.following else line.new).remove(one)
        if not line.following and not line.new:
            del self._lines[client]


class ClientQueue(Generic[T]):
    def __init__(self) -> None:
        self.following: deque[T] = deque()
        self.new: deque[T] = deque()

    def __iter__(self) -> Iterator[T]:
        return chain(self.following, self.new)


class FairSemaphore:
    """Lets so many work at once. From any event loop."""

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
            if self._free:  # then nobody waits
                self._free -= 1
                return
            admitted = asyncio.get_running_loop().create_future()
            self._waiting.add(admitted, client, follows=follows)
        try:
            await admitted
        except asyncio.CancelledError:
            if not self._gave_up(admitted, client):
                self._leave()  # it was let in all the same
            raise

    def _gave_up(self, admitted: "asyncio.Future[None]", client: str) -> bool:
        with self._lock:
            try:
                self._waiting.remove(admitted, client)
            except ValueError:
                return False
            return True

    def _leave(self) -> None:
        """The next one's turn."""
        with self._lock:
            while self._waiting:
                admitted = self._waiting.pop()
                try:
                    admitted.get_loop().call_soon_threadsafe(_admit, admitted)
                    return
                except RuntimeError:  # its loop is closed: nobody waits there
                    continue
            self._free += 1


def _admit(admitted: "asyncio.Future[None]") -> None:
    if not admitted.done():
        admitted.set_result(None)
