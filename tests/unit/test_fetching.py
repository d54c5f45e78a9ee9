"""Fetches over HTTP: what is sent, what comes back, and how long it may take."""

import asyncio
import gzip
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from images import addresses
from images.errors import InvalidImage
from images.fetching import FetchLimits, fetch
from tests.file_server import IMAGE, Answer, Handler, Server, file_server, get, named, refused


@pytest.fixture
def server() -> Iterator[Server]:
    with file_server() as server:
        yield server


# Requests


def test_an_image_is_fetched(server: Server) -> None:
    assert get(server.url()) == IMAGE


def test_a_request_names_the_server_and_asks_for_no_compression(server: Server) -> None:
    get(server.url())
    ((_, headers),) = server.asked
    assert headers["User-Agent"] == "paddleocr-vl-server"
    assert headers["Accept-Encoding"] == "identity"
    assert headers["Host"] == f"127.0.0.1:{server.server_port}"


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("/a b.png?q=ü#part", "/a%20b.png?q=%C3%BC"),
        ("/a%20b%2Fc.png?u=https://x/?y[]=1", "/a%20b%2Fc.png?u=https://x/?y[]=1"),
        ("?q", "/?q"),
    ],
)
def test_a_path_is_percent_encoded_unless_it_already_is(server: Server, written: str, sent: str) -> None:
    server.answers[sent.partition("?")[0]] = lambda handler: handler.answer()
    get(server.url(written))
    assert server.asked[0][0] == sent


def test_a_chunked_answer_is_reassembled(server: Server) -> None:
    def answer(handler: Handler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    server.answers["/page.png"] = answer
    assert get(server.url()) == b"abcde"


def test_a_proxy_in_the_environment_is_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert get(server.url()) == IMAGE


# Answers


def test_an_image_may_be_as_big_as_the_limit(server: Server) -> None:
    assert get(server.url(), max_bytes=len(IMAGE)) == IMAGE
    assert "more than 76799 bytes" in refused(server.url(), max_bytes=len(IMAGE) - 1)


def test_an_answer_announced_as_too_big_is_not_read(server: Server) -> None:
    def answer(handler: Handler) -> None:
        handler.answer(Content_Length=101)
        handler.server.over.wait()  # the body never comes

    server.answers["/page.png"] = answer
    assert "more than 100 bytes" in refused(server.url(), max_bytes=100)


def flood(handler: Handler, piece: bytes) -> None:
    while not handler.server.over.is_set():  # ends when the client disconnects
        handler.wfile.write(piece)


def test_an_answer_that_grows_too_big_is_cut_off(server: Server) -> None:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        flood(handler, bytes(10_000))

    server.answers["/page.png"] = answer
    assert "more than 100000 bytes" in refused(server.url(), max_bytes=100_000)


def test_bytes_beyond_the_announced_length_are_not_read(server: Server) -> None:
    server.answers["/page.png"] = lambda handler: handler.answer(body=IMAGE + b"more", Content_Length=len(IMAGE))
    assert get(server.url()) == IMAGE


def test_a_body_of_one_byte_chunks_is_also_cut_off(server: Server) -> None:
    def answer(handler: Handler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        flood(handler, b"1\r\nx\r\n" * 100)

    server.answers["/page.png"] = answer
    assert "more than 1000 bytes" in refused(server.url(), max_bytes=1000)


@pytest.mark.parametrize("status", [201, 204, 304, 400, 404, 500])
def test_another_status_is_reported_without_its_body(server: Server, status: int) -> None:
    server.answers["/page.png"] = lambda handler: handler.answer(status, b"" if status in (204, 304) else b"secret")
    message = refused(server.url())
    assert f"status {status}" in message
    assert "secret" not in message


@pytest.mark.parametrize("encoding", ["gzip", "br", "x-unknown"])
def test_a_compressed_answer_is_refused(server: Server, encoding: str) -> None:
    body = gzip.compress(IMAGE)
    server.answers["/page.png"] = lambda handler: handler.answer(body=body, Content_Encoding=encoding)
    assert "compressed" in refused(server.url())


def test_an_answer_that_breaks_off_is_an_error(server: Server) -> None:
    server.answers["/page.png"] = lambda handler: handler.answer(body=b"half", Content_Length=8)
    assert "breaks off" in refused(server.url())


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: no\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_an_answer_that_is_not_http_is_an_error(server: Server, answer: bytes) -> None:
    def write(handler: Handler) -> None:
        handler.wfile.write(answer)

    server.answers["/page.png"] = write
    assert "is not HTTP" in refused(server.url())


def test_an_unreachable_server_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        assert "cannot be reached" in refused(f"http://127.0.0.1:{taken.getsockname()[1]}/")


def test_an_unknown_host_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch)
    assert "cannot be found" in refused("http://nowhere.example/")


# Timeouts


def sends_nothing(handler: Handler) -> None:
    handler.server.over.wait()


def drips_its_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    drip(handler, b"X: y\r\n")


def drips_its_body(handler: Handler) -> None:
    handler.answer(Content_Length=1000)
    drip(handler, b"x")


def drip(handler: Handler, drop: bytes) -> None:
    while not handler.server.over.wait(0.02):
        handler.wfile.write(drop)


def sends_interim_responses_forever(handler: Handler) -> None:
    """HTTP allows any number of interim responses."""
    flood(handler, b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


@pytest.mark.parametrize("answer", [sends_nothing, drips_its_headers, drips_its_body, sends_interim_responses_forever])
def test_a_server_without_a_timely_answer_is_given_up(server: Server, answer: Answer) -> None:
    server.answers["/page.png"] = answer
    assert "longer than 0.3 seconds" in refused(server.url(), seconds=0.3)


def test_the_time_limit_covers_all_redirects_together(server: Server) -> None:
    def answer(handler: Handler) -> None:
        handler.server.over.wait(0.1)
        handler.answer(302, Location="/old")

    server.answers["/old"] = answer
    assert "longer than 0.4 seconds" in refused(server.url("/old"), seconds=0.4, max_redirects=10)


@pytest.fixture
def silent_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A name server that never answers during the test."""
    over = Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait())
    yield
    over.set()
    addresses.resolvers().shutdown()
    addresses.resolvers.cache_clear()


@pytest.mark.usefixtures("silent_names")
def test_a_silent_name_server_is_given_up() -> None:
    assert "longer than 0.1 seconds" in refused("http://images.example/", seconds=0.1)


@pytest.mark.usefixtures("silent_names")
def test_a_silent_name_server_delays_no_other_fetch(tmp_path: Path) -> None:
    """Look-ups, which cannot be interrupted, used to block the few threads that decode images."""

    async def fetch_with_one_default_thread() -> bytes:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        with pytest.raises(InvalidImage):
            await fetch("http://images.example/", "param", FetchLimits(seconds=0.1))
        return await fetch(f"file://{tmp_path}/page.png", "param", FetchLimits(media_folder=tmp_path))

    (tmp_path / "page.png").write_bytes(IMAGE)
    assert asyncio.run(fetch_with_one_default_thread()) == IMAGE


def test_cancelling_the_caller_ends_the_fetch(server: Server) -> None:
    reached = Event()

    def answer(handler: Handler) -> None:
        reached.set()
        handler.server.over.wait()

    async def cancel() -> None:
        task = asyncio.create_task(fetch(server.url(), "param", FetchLimits(allowed_hosts=("127.0.0.1",))))
        await asyncio.to_thread(reached.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    server.answers["/page.png"] = answer
    asyncio.run(cancel())
