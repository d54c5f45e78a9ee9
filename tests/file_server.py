"""A real web server on this machine with made-up names, and fetches from it."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest

from images.errors import InvalidImage
from images.fetching import FetchLimits, fetch

IMAGE = bytes(range(256)) * 300

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers with what the server holds for the path."""

    server: "Server"

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers))
        with suppress(ConnectionError):  # the client may disconnect early
            self.server.answers[self.path.partition("?")[0]](self)

    def answer(self, status: int = 200, body: bytes = b"", **headers: str | int) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": len(body)} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


class Server(ThreadingHTTPServer):
    """Serves `answers` by path and records requests in `asked`; `over` is set at the end of the test."""

    daemon_threads = False  # joined when the server is closed

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Answer] = {"/page.png": lambda handler: handler.answer(body=IMAGE)}
        self.asked: list[tuple[str, Message]] = []
        self.over = Event()

    def url(self, path: str = "/page.png", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.server_port}{path}"

    def redirect(self, path: str, to: str, status: int = 302) -> str:
        self.answers[path] = lambda handler: handler.answer(status, Location=to)
        return self.url(path)


@contextmanager
def file_server() -> Iterator[Server]:
    """A running server with one image at /page.png."""
    with Server() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


class Names:
    """A made-up name server: each look-up of a name returns its next answer; the last one repeats."""

    def __init__(self, answers: dict[str, list[list[str]]]) -> None:
        self.answers, self.asked = answers, list[str]()

    def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        if host not in self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        answers = self.answers[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]


def named(monkeypatch: pytest.MonkeyPatch, **answers: list[list[str]]) -> Names:
    """Replace the name server; `images=[["1.2.3.4"]]` gives images.example one address."""
    names = Names({f"{name}.example": addresses for name, addresses in answers.items()})
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    return names


def get(url: str, **limits: Any) -> bytes:
    """The content of `url`; hosts on this machine are allowed."""
    limits.setdefault("allowed_hosts", ("127.0.0.1",))
    return asyncio.run(fetch(url, "param", FetchLimits(**limits)))


def refused(url: str, **limits: Any) -> str:
    """The message of a refused fetch."""
    with pytest.raises(InvalidImage) as refusal:
        get(url, **limits)
    assert refusal.value.param == "param"
    return str(refusal.value)
