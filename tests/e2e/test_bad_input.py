"""Hostile input to a real server over a bare socket, and to the processes that decode its images."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPResponse

import httpx
import psutil
import pytest

from tests.e2e.sample import MODEL, messages
from tests.e2e.servers import HANG_SECONDS, Server, running

DECODE_SECONDS = 5  # far more than the sample takes, on a busy machine too
GOOD = json.dumps({"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    bounds = {"BODY_SECONDS": "3", "DECODE_SECONDS": str(DECODE_SECONDS), "MAX_REQUEST_BYTES": "4000000"}
    with running(tmp_path_factory.mktemp("server"), **bounds) as server:
        yield server


@pytest.fixture(autouse=True)
def _answers_afterwards(server: Server) -> Iterator[None]:
    yield
    assert (
        httpx.post(f"{server.url}/v1/chat/completions", content=GOOD, headers=JSON, timeout=HANG_SECONDS).status_code
        == 200
    )


JSON = {"Content-Type": "application/json"}


def connect(server: Server) -> socket.socket:
    address = httpx.URL(server.url)
    return socket.create_connection((address.host, address.port), timeout=HANG_SECONDS)


def head(*headers: str, path: str = "/v1/chat/completions", method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: here", "Content-Type: application/json", *headers, "", ""]
    return "\r\n".join(lines).encode()


def read_to_end(connection: socket.socket) -> bytes:
    """All bytes until the server closes the connection."""
    received = b""
    with suppress(ConnectionResetError):  # closed before all sent bytes had been read
        while piece := connection.recv(2**16):
            received += piece
    return received


def exchange(server: Server, *pieces: bytes) -> bytes:
    """Send the pieces; the answer of a server that then closes the connection itself."""
    with connect(server) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break  # it has read enough
        return read_to_end(connection)


def refusal(connection: socket.socket) -> tuple[int, str]:
    """The next answer's status and message, in OpenAI's envelope."""
    answer = HTTPResponse(connection)
    answer.begin()  # skips 100 Continue
    return answer.status, json.loads(answer.read())["error"]["message"]


# Bodies


STALLING = {
    "a length": head("Content-Length: 100") + b'{"messages": ',
    "nothing of it": head("Content-Length: 100"),
    "chunks": head("Transfer-Encoding: chunked") + b"5\r\n12345\r\n",
    "within a chunk": head("Transfer-Encoding: chunked") + b"ffff\r\n12345",
    "expects 100": head("Content-Length: 100", "Expect: 100-continue"),
}


@pytest.fixture(scope="module")
def stalled(server: Server) -> Iterator[dict[str, socket.socket]]:
    """Clients that have sent this and send no more; all at once, since the server waits equally long for each."""
    with ExitStack() as stack:
        connections = {name: stack.enter_context(connect(server)) for name in STALLING}
        for name, connection in connections.items():
            connection.sendall(STALLING[name])
        yield connections


@pytest.mark.parametrize("how", STALLING)
def test_a_body_that_stalls_is_answered_408_and_the_connection_closed(
    stalled: dict[str, socket.socket], how: str
) -> None:
    status, message = refusal(stalled[how])
    assert (status, "too slowly" in message) == (408, True)
    assert read_to_end(stalled[how]) == b""


def test_a_body_that_drips_is_answered_408(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        connection.settimeout(0.05)
        end, answer = time.monotonic() + HANG_SECONDS, b""
        while not answer:
            assert time.monotonic() < end
            with suppress(BrokenPipeError, ConnectionResetError):  # the answer is there already
                connection.sendall(b"1\r\n \r\n")
            with suppress(TimeoutError):
                answer = connection.recv(2**16)
        assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("length", ["4000001", "999999999999999"])
@pytest.mark.parametrize("expect", [[], ["Expect: 100-continue"]], ids=["", "expects 100"])
def test_a_body_that_is_announced_too_big_is_refused_without_reading_it(
    server: Server, length: str, expect: list[str]
) -> None:
    with connect(server) as connection:
        connection.sendall(head(f"Content-Length: {length}", *expect))  # and no byte of the body
        status, message = refusal(connection)
    assert (status, message) == (413, "the request is over 4000000 bytes")


def test_chunks_without_an_end_are_refused_at_the_limit(server: Server) -> None:
    chunk = b"%x\r\n%b\r\n" % (2**16, b" " * 2**16)
    with connect(server) as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        connection.setblocking(False)
        answer, sent, end = b"", 0, time.monotonic() + HANG_SECONDS
        while not answer:
            assert time.monotonic() < end
            with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):  # or the answer is there already
                sent += connection.send(chunk[sent % len(chunk) :])
            with suppress(BlockingIOError):
                answer = connection.recv(2**16)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_client_that_leaves_within_its_body_is_forgotten(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(head("Content-Length: 100") + b"{")


def test_bytes_beyond_the_announced_length_are_the_next_request(server: Server) -> None:
    answer = exchange(server, head(f"Content-Length: {len(GOOD)}") + GOOD + b"surplus\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 400 " in answer


@pytest.mark.parametrize(
    "request_",
    [
        head("Content-Length: -1"),
        head("Content-Length: 5, 6"),
        head("Content-Length: 5", "Content-Length: 6") + b"123456",
        head("Content-Length: 0x5") + b"12345",
        head("Content-Length: " + "9" * 100),
        head("Transfer-Encoding: gzip, chunked"),
        head("Transfer-Encoding: chunked") + b"-1\r\n\r\n",
        head("Transfer-Encoding: chunked") + b"5;" + b"x" * 10**6,
        head("Transfer-Encoding: chunked") + b"fffffffffffffffffffffffff\r\n",
        head("X: a\r\n b: c\r\nd"),
        head("Content-Length : 5") + b"12345",
        b"POST /v1/chat/completions HTTP/1.1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/9.9\r\nHost: here\r\nConnection: close\r\n\r\n",
        b"GET /health\r\n\r\n",
        b"GET  /health HTTP/1.1\r\nHost: here\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /h\xc3\xa4lth HTTP/1.1\r\nHost: here\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xab" * 500,  # a TLS client hello
        b"\0" * 1000 + b"\r\n\r\n",
    ],
    ids=lambda request_: repr(request_[-40:]),
)
def test_input_that_is_not_http_is_answered_4xx_and_the_connection_closed(server: Server, request_: bytes) -> None:
    """The HTTP server itself answers most of it, without OpenAI's envelope."""
    assert exchange(server, request_).startswith(b"HTTP/1.1 4")


# Headers and connections


@pytest.mark.parametrize(
    "request_",
    [
        head(*(f"X-{number}: y" for number in range(100_000))),
        head("X: " + "y" * 10**6),
        head(path="/" + "a" * 10**6),
        head(method="A" * 10**6),
        b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000,
    ],
    ids=["many", "a long one", "a long path", "a long method", "one without an end"],
)
def test_a_flood_of_headers_is_cut_off(server: Server, request_: bytes) -> None:
    """The limit is h11's: 16 KiB for all headers together."""
    assert exchange(server, request_).startswith(b"HTTP/1.1 400 ")


def test_requests_that_are_sent_without_waiting_are_answered_in_order(server: Server) -> None:
    asked = [b"/health", b"/nowhere-1", b"/version", b"/nowhere-2"]
    requests = b"".join(b"GET %b HTTP/1.1\r\nHost: here\r\n\r\n" % path for path in asked[:-1])
    last = b"GET %b HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n" % asked[-1]
    answers = exchange(server, requests + last).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"404", b"200", b"404"]
    assert b"nowhere-1" in answers[1]
    assert b"nowhere-2" in answers[3]


def test_many_silent_connections_keep_no_client_out(server: Server) -> None:
    silent = [connect(server) for _ in range(200)]
    try:
        assert httpx.get(f"{server.url}/health", timeout=HANG_SECONDS).status_code == 200
    finally:
        for connection in silent:
            connection.close()


# Decoder processes


def worker_of(server: Server) -> psutil.Process:
    (worker,) = psutil.Process(server.process.pid).children()
    return worker


def decoders_of(server: Server) -> list[psutil.Process]:
    alive = [child for child in worker_of(server).children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if "images.processes" in child.cmdline()]


def read_one(server: Server) -> int:
    answer = server.client().chat.completions.create(model=MODEL, messages=messages(), max_tokens=1)
    return len(answer.choices)


def test_images_are_decoded_in_separate_processes_that_outlive_requests(server: Server) -> None:
    before = decoders_of(server)
    assert before
    read_one(server)
    assert decoders_of(server) == before


def test_killed_decoders_are_replaced(server: Server) -> None:
    for decoder in decoders_of(server):
        decoder.kill()
    assert read_one(server) == 1
    assert decoders_of(server)


def test_an_image_whose_decoder_hangs_is_refused_in_time_and_nothing_else_waits_for_it(server: Server) -> None:
    for decoder in decoders_of(server):
        decoder.suspend()
    refused = httpx.post(
        f"{server.url}/v1/chat/completions",
        json={"model": MODEL, "messages": messages(), "max_tokens": 1},
        timeout=HANG_SECONDS,
    )
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert f"takes longer than {DECODE_SECONDS} seconds to decode" in error["message"]
    assert error["param"].endswith("image_url.url")
