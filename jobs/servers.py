"""The servers that read pages: each request goes to the one with the fewest, and none to one that cannot be reached."""

import asyncio
import heapq
import itertools
import json
import logging
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2

from jobs.drain import Drain
from jobs.failures import Failure, Unavailable, of_input, ours, passing

logger = logging.getLogger(__name__)

REST = 1.0  # seconds that a server rests after it could not be reached; doubled each time
LONGEST_REST = 15.0
BUSY_REST = 2.0  # after it was busy and said nothing of when to ask again
CONNECT_SECONDS = 10.0
CONNECTING = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
BUSY = (429, 503)
PASSING = (408, 500, 502, 504)
SETTINGS = (401, 403, 404, 405)


class Server:
    """One server, and what is known of it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.running = 0  # requests
        self.failed = 0  # times in a row that it could not be reached
        self.rests_until = 0.0  # monotonic seconds

    def rest(self, seconds: float) -> None:
        self.rests_until = max(self.rests_until, time.monotonic() + seconds)


@dataclass(order=True)
class _Waiter:
    """A request that waits for its turn: the smallest rank first, then the one that came first."""

    rank: int
    number: int
    woken: asyncio.Event = field(compare=False, default_factory=asyncio.Event)


class Servers:
    """All servers of a worker, in one event loop."""

    def __init__(
        self, addresses: Sequence[str], key: str | None, at_once: int, seconds: float, drain: Drain | None = None
    ) -> None:
        """`at_once`: requests to one server; `seconds`: for one answer."""
        self.servers = [Server(address) for address in addresses]
        self._at_once, self._seconds = at_once, seconds
        self._drain = drain or Drain()
        self._waiting: list[_Waiter] = []  # a heap
        self._numbers = itertools.count()
        self._client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=at_once * len(addresses)),
            trust_env=False,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        rank: int = 0,
        within: float | None = None,
    ) -> dict[str, Any]:
        """The JSON answer to a request. Waits for a server that is free; smaller ranks go first. Raises Failure.

        `within`: seconds that an answer may take, instead of the usual ones.
        """
        while True:
            async with self._drain.waiting():
                server = await self._turn(rank)
            try:
                return await self._post(server, path, body, headers or {}, within or self._seconds)
            except Unavailable as error:
                seconds = error.retry_after
                if seconds is None:
                    seconds = min(LONGEST_REST, REST * 2**server.failed) * random.uniform(0.75, 1.25)
                    server.failed += 1
                    logger.warning("%s; it rests %.1f s", error, seconds, extra={"facts": {"server": server.address}})
                server.rest(seconds)
            finally:
                server.running -= 1
                self._wake()

    async def _turn(self, rank: int) -> Server:
        """A server that rests no more and has room, with this request counted."""
        own = _Waiter(rank, next(self._numbers))
        heapq.heappush(self._waiting, own)
        try:
            while True:
                await self._drain.hold()
                server = self._with_room() if self._waiting[0] is own else None
                if server is not None:
                    server.running += 1
                    return server
                own.woken.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._longest_wait()):
                        await own.woken.wait()
        finally:
            self._waiting.remove(own)
            heapq.heapify(self._waiting)
            self._wake()

    def _with_room(self) -> Server | None:
        """The server with the fewest requests, of those that have room and do not rest."""
        now = time.monotonic()
        free = [one for one in self.servers if one.rests_until <= now and one.running < self._at_once]
        return min(free, key=lambda one: one.running, default=None)

    def _longest_wait(self) -> float | None:
        """Seconds until a server's rest is over; None: no server rests."""
        now = time.monotonic()
        return min((one.rests_until - now + 0.01 for one in self.servers if one.rests_until > now), default=None)

    def _wake(self) -> None:
        if self._waiting:
            self._waiting[0].woken.set()

    async def _post(
        self, server: Server, path: str, body: bytes, headers: Mapping[str, str], seconds: float
    ) -> dict[str, Any]:
        """Raises Failure, Unavailable."""
        sent = {"Content-Type": "application/json", **headers}
        bounds = httpx2.Timeout(seconds, connect=CONNECT_SECONDS)
        try:
            response = await self._client.post(server.address + path, content=body, headers=sent, timeout=bounds)
        except CONNECTING as error:
            raise Unavailable(f"{server.address} cannot be reached: {error or type(error).__name__}") from error
        except httpx2.TimeoutException as error:
            raise passing("server_timeout", f"{server.address} took too long") from error
        except httpx2.HTTPError as error:
            # The page itself may have ended the server, so that this counts as an attempt; the next one waits.
            server.rest(REST)
            raise passing("server_lost", f"{server.address} broke the connection off: {error!r}") from error
        server.failed = 0
        if response.status_code == 200:
            return _json(response, server)
        raise _refusal(response, server)


def _json(response: httpx2.Response, server: Server) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError as error:
        raise passing("server_answer", f"{server.address} sent no JSON") from error
    if not isinstance(answer, dict):
        raise ours("server_answer", f"{server.address} sent no JSON object; VLLM_URL must name this project's server")
    return answer


def _refusal(response: httpx2.Response, server: Server) -> Failure | Unavailable:
    status, said = response.status_code, _message(response)
    if status in BUSY:
        return Unavailable(f"{server.address} is busy: {said}", _retry_after(response))
    if status in PASSING:
        return passing("server_error", f"{server.address} answered {status}: {said}")
    if status in SETTINGS:
        return ours("server_refused", f"{server.address} answered {status}: {said}; see VLLM_URL and VLLM_API_KEY")
    return of_input("refused", said)


def _message(response: httpx2.Response) -> str:
    try:
        said = json.loads(response.content)
        return str(said["errorMsg"] if "errorMsg" in said else said["error"]["message"])  # PaddleX's, or OpenAI's
    except (ValueError, LookupError, TypeError):
        return response.text[:200] or "nothing"


def _retry_after(response: httpx2.Response) -> float:
    try:
        return min(60.0, max(0.1, float(response.headers.get("retry-after", BUSY_REST))))
    except ValueError:
        return BUSY_REST
