"""The servers that read pages: who is asked, what is waited for, and which failure may pass."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from jobs.drain import Drain
from jobs.failures import Failure
from jobs.servers import Servers
from tests.free_port import free_port

Answer = Callable[[], Response]


class Reading:
    """A real server that answers from a list, the last answer again and again."""

    def __init__(self, *answers: Answer, seconds: float = 0.0) -> None:
        self.port = free_port()
        self.asked = 0
        self._answers, self._seconds = list(answers), seconds
        config = uvicorn.Config(Starlette(routes=[Route("/", self._read, methods=["POST"])]), port=self.port)
        config.log_level = "error"
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    async def _read(self, _: Request) -> Response:
        self.asked += 1
        await asyncio.sleep(self._seconds)
        return self._answers.pop(0)() if len(self._answers) > 1 else self._answers[0]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "Reading":
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


def good() -> Response:
    return JSONResponse({"text": "read"})


def refuses(status: int, message: str = "no", **headers: str) -> Answer:
    return lambda: JSONResponse({"error": {"message": message}}, status, headers)


@pytest.fixture
def started() -> Iterator[Callable[..., Reading]]:
    made: list[Reading] = []

    def start(*answers: Answer, seconds: float = 0.0) -> Reading:
        made.append(Reading(*answers, seconds=seconds).start())
        return made[-1]

    yield start
    for server in made:
        server.stop()


def ask(*urls: str, times: int = 1, at_once: int = 2, seconds: float = 10.0) -> list[Any]:
    """What each of some requests at once gets: an answer, or a failure."""

    async def run() -> list[Any]:
        servers = Servers(urls, "key", at_once, seconds)
        answers = await asyncio.gather(*[servers.ask("/", b"{}") for _ in range(times)], return_exceptions=True)
        await servers.close()
        return answers

    return asyncio.run(run())


def failure(*answers: Any) -> tuple[str, str]:
    (found,) = answers
    assert isinstance(found, Failure)
    return found.kind, found.code


def test_requests_are_shared_among_servers(started: Callable[..., Reading]) -> None:
    one, other = started(good, seconds=0.05), started(good, seconds=0.05)
    assert ask(one.url, other.url, times=8) == [{"text": "read"}] * 8
    assert one.asked == other.asked == 4


def test_a_server_that_cannot_be_reached_gets_nothing_and_no_request_fails(started: Callable[..., Reading]) -> None:
    alive = started(good)
    assert ask(f"http://127.0.0.1:{free_port()}", alive.url, times=6) == [{"text": "read"}] * 6
    assert alive.asked == 6


def test_a_busy_server_is_asked_again_when_it_says(started: Callable[..., Reading]) -> None:
    busy = started(refuses(429, **{"Retry-After": "0.2"}), refuses(503, **{"Retry-After": "0.2"}), good)
    before = time.monotonic()
    assert ask(busy.url) == [{"text": "read"}]
    assert time.monotonic() - before >= 0.4
    assert busy.asked == 3


@pytest.mark.parametrize("status", [408, 500, 502, 504])
def test_a_server_in_trouble_is_a_failure_that_may_pass(started: Callable[..., Reading], status: int) -> None:
    assert failure(*ask(started(refuses(status)).url)) == ("passing", "server_error")


def test_a_server_that_takes_too_long_is_a_failure_that_may_pass(started: Callable[..., Reading]) -> None:
    assert failure(*ask(started(good, seconds=1).url, seconds=0.1)) == ("passing", "server_timeout")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_wants_another_key_or_lacks_the_route_is_ours(
    started: Callable[..., Reading], status: int
) -> None:
    assert failure(*ask(started(refuses(status)).url)) == ("ours", "server_refused")


def test_a_page_that_is_refused_is_the_documents_failure_in_the_servers_words(started: Callable[..., Reading]) -> None:
    (found,) = ask(started(refuses(400, "the PDF cannot be read")).url)
    assert (found.kind, str(found)) == ("input", "the PDF cannot be read")


def test_an_answer_that_is_no_json_may_pass(started: Callable[..., Reading]) -> None:
    assert failure(*ask(started(lambda: PlainTextResponse("oops")).url)) == ("passing", "server_answer")


def test_smaller_ranks_go_first_and_then_those_that_came_first(started: Callable[..., Reading]) -> None:
    server = started(good, seconds=0.02)
    order: list[int] = []

    async def run() -> None:
        servers = Servers([server.url], None, 1, 10)

        async def one(rank: int) -> None:
            await servers.ask("/", b"{}", rank=rank)
            order.append(rank)

        first = asyncio.create_task(one(9))
        await asyncio.sleep(0)
        await asyncio.gather(first, *[one(rank) for rank in (2, 1, 2, 0)])
        await servers.close()

    asyncio.run(run())
    assert order == [9, 0, 1, 2, 2]


def test_a_request_that_is_cancelled_while_it_waits_leaves_its_place(
    started: Callable[..., Reading],
) -> None:
    server = started(good, seconds=0.05)

    async def run() -> list[Any]:
        servers = Servers([server.url], None, 1, 10)
        asked = [asyncio.create_task(servers.ask("/", b"{}")) for _ in range(4)]
        await asyncio.sleep(0.01)
        asked[1].cancel()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        await servers.close()
        return [type(answer) for answer in answers]

    assert asyncio.run(run()) == [dict, asyncio.CancelledError, dict, dict]


def test_requests_that_wait_for_their_turn_hold_no_drain(started: Callable[..., Reading]) -> None:
    server = started(good, seconds=0.1)

    async def run() -> tuple[int, list[bool]]:
        drain = Drain()
        servers = Servers([server.url], None, 1, 10, drain)

        async def step() -> None:
            async with drain.step():
                await servers.ask("/", b"{}")

        steps = [asyncio.create_task(step()) for _ in range(3)]
        await asyncio.sleep(0.02)
        drain.wanted = True
        running = drain.running
        await asyncio.wait(steps[:1])
        done = [one.done() for one in steps]
        for one in steps:
            one.cancel()
        await asyncio.gather(*steps, return_exceptions=True)
        await servers.close()
        return running, done

    assert asyncio.run(run()) == (1, [True, False, False])
    assert server.asked == 1
