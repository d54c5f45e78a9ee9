"""A real server on this machine, reached because a test allows its host; only the name server is made up."""

import asyncio
import gzip
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpcore
import pytest

from api.errors import ApiError
from images import fetching
from images.fetching import FetchLimits, fetch

IMAGE = bytes(range(256)) * 300
PUBLIC = "93.184.215.14"

# For pictures.example, signed by itself, from 2020 to 2120.
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgFBsaYNO6sz7UvPVu
pdzbDxzpndMVKrjdBPzJysG1We+hRANCAAQS9XfoEE6M5aw9bhSJHw4/JCMYMhWg
K4vVWQP5iNYyMtt12/qiH2jvWCc5xv4tRpvVqGJI6jLIA6CynykC+2Ff
-----END PRIVATE KEY-----
"""
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBhTCCASygAwIBAgIBATAKBggqhkjOPQQDAjAbMRkwFwYDVQQDDBBwaWN0dXJl
cy5leGFtcGxlMCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAbMRkw
FwYDVQQDDBBwaWN0dXJlcy5leGFtcGxlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD
QgAEEvV36BBOjOWsPW4UiR8OPyQjGDIVoCuL1VkD+YjWMjLbddv6oh9o71gnOcb+
LUab1ahiSOoyyAOgsp8pAvthX6NfMF0wDwYDVR0TAQH/BAUwAwEB/zAOBgNVHQ8B
Af8EBAMCAoQwGwYDVR0RBBQwEoIQcGljdHVyZXMuZXhhbXBsZTAdBgNVHQ4EFgQU
bQ0UTjeClZR5X/X36zQBrUeaSH4wCgYIKoZIzj0EAwIDRwAwRAIgNx/9PJXFXMXr
IhOHZbL/DlvqdvswwLyh/D2B7EP0x+0CIFQuAEE7vtSFNq/zfYnbtI6HHz5SBxVe
vPVXXSCzhov0
-----END CERTIFICATE-----
"""

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    server: "Server"

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers))
        with suppress(ConnectionError):  # the client may leave when it knows enough
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
    """`answers` are by path; `asked` is what came; `over` is set when the test is."""

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


@pytest.fixture
def server() -> Iterator[Server]:
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
    """The made-up name server: each look-up of a name gets its next answer, the last one again and again."""

    def __init__(self, answers: dict[str, list[list[str]]]) -> None:
        self.answers, self.asked = answers, list[str]()

    def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        if host not in self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        turns = self.answers[host]
        addresses = turns.pop(0) if len(turns) > 1 else turns[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]


def named(monkeypatch: pytest.MonkeyPatch, **answers: list[list[str]]) -> Names:
    """`images=[["1.2.3.4"]]`: pictures.example has one address."""
    names = Names({f"{name}.example": turns for name, turns in answers.items()})
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    return names


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are connected to; what is not of this machine leads to this machine."""
    addresses: list[str] = []
    connect = httpcore.AnyIOBackend.connect_tcp

    async def noted(self: httpcore.AnyIOBackend, host: str, *rest: Any) -> httpcore.AsyncNetworkStream:
        addresses.append(host)
        return await connect(self, "127.0.0.1", *rest)

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", noted)
    return addresses


def get(url: str, **limits: Any) -> bytes:
    limits.setdefault("allowed_hosts", ("127.0.0.1",))
    return asyncio.run(fetch(url, "param", FetchLimits(**limits)))


def refused(url: str, **limits: Any) -> str:
    with pytest.raises(ApiError) as refusal:
        get(url, **limits)
    assert refusal.value.status == 400
    assert refusal.value.error["param"] == "param"
    return str(refusal.value)


# What is reached


def test_an_image_is_fetched(server: Server) -> None:
    assert get(server.url()) == IMAGE


def test_the_request_says_who_asks_and_wants_no_compression(server: Server) -> None:
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
def test_a_path_is_percent_encoded_where_it_is_not_yet(server: Server, written: str, sent: str) -> None:
    server.answers[sent.partition("?")[0]] = lambda handler: handler.answer()
    get(server.url(written))
    assert server.asked[0][0] == sent


def test_a_chunked_answer_is_put_together(server: Server) -> None:
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


@pytest.mark.parametrize("address", [PUBLIC, "2606:4700:4700::1111", f"::ffff:{PUBLIC}", "64:ff9b::5db8:d70e"])
def test_a_public_address_needs_no_permission(
    server: Server, monkeypatch: pytest.MonkeyPatch, connected: list[str], address: str
) -> None:
    named(monkeypatch, images=[[address]])
    assert get(server.url(host="pictures.example"), allowed_hosts=()) == IMAGE
    assert [ip_address(one) for one in connected] == [ip_address(address)]


def test_the_next_address_is_tried_when_one_does_not_answer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, images=[["::1", "127.0.0.1"]])
    assert get(server.url(host="pictures.example"), allowed_hosts=("pictures.example",)) == IMAGE


# What is not public

NOT_PUBLIC = """
    127.0.0.1 2130706433 0177.0.0.1 017700000001 0x7f.1 0x7f000001 127.1 0 127.0.0.1. LOCALHOST localhost.
    １２７.０.０.１ 127。0。0。1
    0.0.0.0 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 100.100.100.200 168.63.129.16
    192.0.0.8 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255
    [::] [::1] [fe80::1] [fec0::1] [fd00:ec2::254] [ff02::1] [ff0e::1] [100::1] [2001:db8::1] [3fff::1] [4000::1]
    [::ffff:127.0.0.1] [::ffff:10.0.0.1] [::127.0.0.1] [::ffff:0:127.0.0.1] [::8.8.8.8]
    [2002:7f00:1::] [2001:0:7f00:1::] [64:ff9b::127.0.0.1] [64:ff9b::a9fe:a9fe] [64:ff9b:1::7f00:1]
""".split()


@pytest.mark.parametrize("host", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused(connected: list[str], host: str) -> None:
    message = refused(f"http://{host}/page.png", allowed_hosts=())
    assert "is not a public address; an operator can allow it with ALLOWED_HOSTS" in message
    assert not connected


def test_a_scoped_address_is_refused(monkeypatch: pytest.MonkeyPatch, connected: list[str]) -> None:
    assert "no valid host" in refused("http://[2606:4700::1%25eth0]/page.png")
    named(monkeypatch, images=[["2606:4700::1%eth0"]])
    assert "not a public address" in refused("http://pictures.example/page.png")
    assert not connected


def test_a_name_with_one_private_address_is_refused_and_the_address_not_told(
    monkeypatch: pytest.MonkeyPatch, connected: list[str]
) -> None:
    named(monkeypatch, images=[[PUBLIC, "10.1.2.3"]])
    message = refused("http://pictures.example/page.png")
    assert "not a public address" in message
    assert "10.1.2.3" not in message
    assert not connected


def test_the_connection_goes_to_the_address_that_was_checked(
    server: Server, monkeypatch: pytest.MonkeyPatch, connected: list[str]
) -> None:
    """The name server says public when asked first and private when asked again; it must not be asked again."""
    names = named(monkeypatch, images=[[PUBLIC], ["127.0.0.1"]])
    assert get(server.url(host="pictures.example"), allowed_hosts=()) == IMAGE
    assert names.asked == ["pictures.example"]
    assert connected == [PUBLIC]
    assert server.asked[0][1]["Host"] == f"pictures.example:{server.server_port}"


# What an operator allows


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST.", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("one.corp.example", "one.corp.example"),
        ("one.corp.example", "*.Corp.Example"),
        ("a.one.corp.example", "*.corp.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
    ],
)
def test_an_allowed_host_may_be_private(
    server: Server, monkeypatch: pytest.MonkeyPatch, host: str, allowed: str
) -> None:
    names = named(monkeypatch)
    for name in ("localhost", "127.0.0.1", "one.corp.example", "a.one.corp.example", "xn--bcher-kva.example"):
        names.answers[name] = [["127.0.0.1"]]
    assert get(server.url(host=host), allowed_hosts=("other.example", allowed)) == IMAGE


@pytest.mark.parametrize("allowed", ["::1", "[::1]", "[0:0:0:0:0:0:0:1]"])
def test_an_allowed_address_is_the_same_in_every_form(server: Server, connected: list[str], allowed: str) -> None:
    assert get(server.url(host="[0::0:1]"), allowed_hosts=(allowed,)) == IMAGE
    assert connected == ["::1"]
    assert server.asked[0][1]["Host"] == f"[::1]:{server.server_port}"


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("corp.example", "*.corp.example"),
        ("evilcorp.example", "*.corp.example"),
        ("corp.example.evil.example", "*.corp.example"),
        ("10.0.0.evil.example", "10.0.0.*"),
        ("one.corp.example", "corp.example"),
    ],
)
def test_a_host_that_only_resembles_an_allowed_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, connected: list[str], host: str, allowed: str
) -> None:
    named(monkeypatch).answers[host] = [["10.0.0.1"]]
    assert "not a public address" in refused(f"http://{host}/", allowed_hosts=(allowed,))
    assert not connected


# Redirects


@pytest.mark.parametrize("status", fetching.REDIRECTS)
def test_a_redirect_is_followed(server: Server, status: int) -> None:
    assert get(server.redirect("/old/page.png", "../page.png", status)) == IMAGE


def test_a_redirect_to_another_host_is_followed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, one=[["127.0.0.1"]], two=[["127.0.0.1"]])
    server.redirect("/old", server.url(host="two.example"))
    assert get(server.url("/old", host="one.example"), allowed_hosts=("one.example", "two.example")) == IMAGE
    assert [headers["Host"].partition(":")[0] for _, headers in server.asked] == ["one.example", "two.example"]


def test_a_redirect_to_a_private_address_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    names = named(monkeypatch, one=[["127.0.0.1"]], secret=[["127.0.0.1"]])
    server.redirect("/old", server.url(host="secret.example"))
    message = refused(server.url("/old", host="one.example"), allowed_hosts=("one.example",))
    assert "redirects to a URL that names a host that is not a public address" in message
    assert "secret" not in message
    assert names.asked == ["one.example", "secret.example"]
    assert [path for path, _ in server.asked] == ["/old"]


@pytest.mark.parametrize("secret", ["169.254.169.254", "[::1]", "10.0.0.1", "0x7f.1", "metadata.example"])
def test_a_public_server_leads_to_no_private_one(
    server: Server, monkeypatch: pytest.MonkeyPatch, connected: list[str], secret: str
) -> None:
    """Nor to another port of this machine."""
    names = named(monkeypatch, images=[[PUBLIC]], metadata=[["169.254.169.254"]])
    for host, address in {"169.254.169.254": "169.254.169.254", "::1": "::1", "10.0.0.1": "10.0.0.1"}.items():
        names.answers[host] = [[address]]
    names.answers["0x7f.1"] = [["127.0.0.1"]]
    server.redirect("/old", f"http://{secret}:{server.server_port + 1}/latest/meta-data/")
    message = refused(server.url("/old", host="pictures.example"), allowed_hosts=())
    assert "redirects to a URL that names a host that is not a public address" in message
    assert connected == [PUBLIC]


def test_a_redirect_to_the_same_host_is_looked_up_and_checked_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, connected: list[str]
) -> None:
    named(monkeypatch, images=[[PUBLIC], ["127.0.0.1"]])
    server.redirect("/old", "/page.png")
    assert "not a public address" in refused(server.url("/old", host="pictures.example"))
    assert connected == [PUBLIC]


@pytest.mark.parametrize("to", ["file:///etc/hostname", "ftp://127.0.0.1/", "data:image/png;base64,AAAA", "gopher:x"])
def test_a_redirect_leads_to_nothing_but_http(server: Server, to: str) -> None:
    message = refused(server.redirect("/old", to), media_folder=Path("/"))
    assert "redirects to a URL that does not start with http:// or https://" in message


@pytest.mark.parametrize("to", ["http://[", "//:0/", "http://user@127.0.0.1/", "http://a..b/", "//" + "a" * 9000])
def test_a_redirect_must_be_a_good_url(server: Server, to: str) -> None:
    assert refused(server.redirect("/old", to)).startswith("the URL redirects to a URL that ")
    assert len(server.asked) == 1


def test_a_loop_of_redirects_ends(server: Server) -> None:
    assert "redirects more than 3 times" in refused(server.redirect("/old", "/old"))
    assert len(server.asked) == 4


def test_as_many_redirects_as_allowed_are_followed(server: Server) -> None:
    server.redirect("/1", "/2")
    server.redirect("/2", "/page.png")
    assert get(server.url("/1"), max_redirects=2) == IMAGE
    assert "redirects more than 1 times" in refused(server.url("/1"), max_redirects=1)


def test_a_redirect_to_nowhere_is_an_error(server: Server) -> None:
    server.answers["/old"] = lambda handler: handler.answer(302)
    assert "status 302" in refused(server.url("/old"))


# What comes back


def test_an_image_may_be_as_big_as_the_limit(server: Server) -> None:
    assert get(server.url(), max_bytes=len(IMAGE)) == IMAGE
    assert "more than 76799 bytes" in refused(server.url(), max_bytes=len(IMAGE) - 1)


def test_what_is_announced_too_big_is_not_read(server: Server) -> None:
    def answer(handler: Handler) -> None:
        handler.answer(Content_Length=101)
        handler.server.over.wait()  # the body never comes

    server.answers["/page.png"] = answer
    assert "more than 100 bytes" in refused(server.url(), max_bytes=100)


def flood(handler: Handler, piece: bytes) -> None:
    while not handler.server.over.is_set():  # ends when the client leaves
        handler.wfile.write(piece)


def test_what_grows_too_big_is_cut_off(server: Server) -> None:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        flood(handler, bytes(10_000))

    server.answers["/page.png"] = answer
    assert "more than 100000 bytes" in refused(server.url(), max_bytes=100_000)


def test_what_comes_beyond_the_announced_length_is_not_read(server: Server) -> None:
    server.answers["/page.png"] = lambda handler: handler.answer(body=IMAGE + b"more", Content_Length=len(IMAGE))
    assert get(server.url()) == IMAGE


def test_a_body_of_one_byte_chunks_is_cut_off_too(server: Server) -> None:
    def answer(handler: Handler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        flood(handler, b"1\r\nx\r\n" * 100)

    server.answers["/page.png"] = answer
    assert "more than 1000 bytes" in refused(server.url(), max_bytes=1000)


@pytest.mark.parametrize("status", [201, 204, 304, 400, 404, 500])
def test_another_status_is_told_and_the_body_is_not(server: Server, status: int) -> None:
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


def test_a_server_that_is_not_there_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        assert "cannot be reached" in refused(f"http://127.0.0.1:{taken.getsockname()[1]}/")


def test_a_host_that_does_not_exist_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch)
    assert "cannot be found" in refused("http://nowhere.example/")


# Time


def says_nothing(handler: Handler) -> None:
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


def is_always_about_to_answer(handler: Handler) -> None:
    """HTTP allows any number of interim answers."""
    flood(handler, b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


@pytest.mark.parametrize("answer", [says_nothing, drips_its_headers, drips_its_body, is_always_about_to_answer])
def test_a_server_is_given_up_that(server: Server, answer: Answer) -> None:
    server.answers["/page.png"] = answer
    assert "longer than 0.3 seconds" in refused(server.url(), seconds=0.3)


def test_the_time_is_for_all_redirects_together(server: Server) -> None:
    def answer(handler: Handler) -> None:
        handler.server.over.wait(0.1)
        handler.answer(302, Location="/old")

    server.answers["/old"] = answer
    assert "longer than 0.4 seconds" in refused(server.url("/old"), seconds=0.4, max_redirects=10)


@pytest.fixture
def silent_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A name server that never answers, as long as the test runs."""
    over = Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait())
    yield
    over.set()
    fetching._resolvers().shutdown()
    fetching._resolvers.cache_clear()


@pytest.mark.usefixtures("silent_names")
def test_a_name_server_that_says_nothing_is_given_up() -> None:
    assert "longer than 0.1 seconds" in refused("http://pictures.example/", seconds=0.1)


@pytest.mark.usefixtures("silent_names")
def test_a_name_server_that_says_nothing_holds_up_nobody_else(folder: Path) -> None:
    """Look-ups, which nothing can interrupt, sat in the few threads that images are decoded in."""

    async def one_thread_for_the_rest() -> bytes:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        with pytest.raises(ApiError):
            await fetch("http://pictures.example/", "param", FetchLimits(seconds=0.1))
        return await fetch(f"file://{folder}/page%201.png", "param", FetchLimits(media_folder=folder))

    assert asyncio.run(one_thread_for_the_rest()) == IMAGE


def test_a_caller_that_leaves_ends_the_fetch(server: Server) -> None:
    reached = Event()

    def answer(handler: Handler) -> None:
        reached.set()
        handler.server.over.wait()

    async def leave() -> None:
        task = asyncio.create_task(fetch(server.url(), "param", FetchLimits(allowed_hosts=("127.0.0.1",))))
        await asyncio.to_thread(reached.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    server.answers["/page.png"] = answer
    asyncio.run(leave())


# TLS


@pytest.fixture
def trusted(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The server speaks TLS as pictures.example and is trusted; yields the names that it is asked for."""
    certificate, asked = tmp_path / "certificate.pem", list[str]()
    certificate.write_text(KEY + CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    named(monkeypatch, images=[["127.0.0.1"]], other=[["127.0.0.1"]])
    fetching._tls.cache_clear()
    yield asked
    fetching._tls.cache_clear()


def test_tls_is_for_the_name_and_not_for_the_address(server: Server, trusted: list[str]) -> None:
    url = server.url(host="pictures.example", scheme="https")
    assert get(url, allowed_hosts=("pictures.example",)) == IMAGE
    assert trusted == ["pictures.example"]
    assert server.asked[0][1]["Host"] == f"pictures.example:{server.server_port}"


@pytest.mark.usefixtures("trusted")
def test_a_certificate_for_another_name_is_refused(server: Server) -> None:
    message = refused(server.url(host="other.example", scheme="https"), allowed_hosts=("other.example",))
    assert "TLS certificate" in message
    assert not server.asked


@pytest.mark.usefixtures("trusted")
def test_a_certificate_that_nobody_trusted_signed_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    message = refused(server.url(host="pictures.example", scheme="https"), allowed_hosts=("pictures.example",))
    assert "TLS certificate" in message
    assert not server.asked


def test_a_server_without_tls_is_refused(server: Server) -> None:
    assert "TLS" in refused(server.url(scheme="https"))


# How a URL is written


@pytest.mark.parametrize("login", ["user:password@", "user@", ":@", "@", "example.com\\@"])
def test_a_login_in_a_url_is_refused(server: Server, login: str) -> None:
    message = refused(server.url(host=f"{login}127.0.0.1"))
    assert "user name or password" in message
    assert "user:" not in message
    assert not server.asked


@pytest.mark.parametrize(
    "url",
    [
        "",
        "page.png",
        "//127.0.0.1/page.png",
        "ftp://127.0.0.1/",
        "data:image/png;base64,AAAA",
        "http:",
        "http://",
        "http:///page.png",
        "http://:80/",
        "http://?",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:65536/",
        "http://127.0.0.1:-1/",
        "http://127.0.0.1:eighty/",
        "http://127.0.0.1:８０/",
        "http://127.0.0.1:" + "9" * 5000,
        "http://127.0.0.1\t/",
        "http://127.0.0.1/\r\nX: y",
        "http://127.0.0.1/\x00",
        "http://127.0.0.1/\x7f",
        "\x01http://127.0.0.1/",
        "http://127.0.0.1 /",
        "http://127.0.0.1\\page.png",
        "http://127%2e0.0.1/",
        "http://" + "a" * 5000 + "/",
        "http://" + "a." * 2500 + "/",
        "http://" + "ü" * 5000 + "/",
        "http://127.0.0.1/" + "a" * 10_000,
        "http://a..b/",
        "http://.a/",
        "http://./",
        "http://\u00ad/",
        "http://xn--\u0080/",
        "http://a\u2100b/",
        "http://\ud800/",
        "http://127.0.0.1/\ud800",
        "http://[/",
        "http://]/",
        "http://[::1/",
        "http://[]/",
        "http://[::1]x/",
        "http://[::g]/",
        "http://[fe80::1%25lo]/",
        "http://[v1.a]/",
        "http://::1/",
        "http://<script>/",
    ],
)
def test_a_url_that_makes_no_sense_is_refused(connected: list[str], monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    named(monkeypatch)
    refused(url, media_folder=Path("/"))
    assert not connected


# Files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """media/ with an image in it, beside a file that is not to be read."""
    (tmp_path / "secret.png").write_bytes(b"secret")
    media = tmp_path / "media"
    (media / "inner").mkdir(parents=True)
    (media / "page 1.png").write_bytes(IMAGE)
    return media


@pytest.mark.parametrize("host", ["", "localhost", "LOCALHOST"])
def test_a_file_of_the_media_folder_is_read(folder: Path, host: str) -> None:
    assert get(f"file://{host}{folder}/page%201.png", media_folder=folder) == IMAGE


def test_a_path_that_comes_back_into_the_folder_is_read(folder: Path) -> None:
    assert get(f"file://{folder}/inner/../page 1.png", media_folder=folder) == IMAGE


def test_a_link_within_the_folder_is_followed(folder: Path) -> None:
    (folder / "inner" / "link.png").symlink_to(folder / "page 1.png")
    assert get(f"file://{folder}/inner/link.png", media_folder=folder) == IMAGE


def test_the_folder_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert get(f"file://{tmp_path}/link/page%201.png", media_folder=tmp_path / "link") == IMAGE


def test_a_name_that_is_not_utf_8_is_read(folder: Path) -> None:
    try:
        (folder / os.fsdecode(b"\xff?.png")).write_bytes(IMAGE)
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    assert get(f"file://{folder}/%FF%3F.png", media_folder=folder) == IMAGE


def test_no_file_is_read_unless_a_folder_is_allowed(folder: Path) -> None:
    assert "none may be read" in refused(f"file://{folder}/page%201.png")


def test_everything_that_is_no_file_of_the_folder_gets_the_same_answer(folder: Path) -> None:
    (folder / "out.png").symlink_to(folder.parent / "secret.png")
    (folder / "up").symlink_to(folder.parent)
    (folder / "loop").symlink_to(folder / "loop")
    (folder.parent / "media-2").mkdir()
    (folder.parent / "media-2" / "page.png").write_bytes(b"secret")
    os.mkfifo(folder / "pipe")
    within = ["none.png", "out.png", "up/secret.png", "loop", "../secret.png", "%2e%2e/secret.png", "..%2Fsecret.png"]
    within += ["..%2Fnone.png", "inner", "", "pipe", "page%201.png%00", "%252e%252e/secret.png"]
    within += ["../media-2/page.png", "a" * 5000, "\ud800", "/../../secret.png"]
    urls = [f"file://{folder}/{path}" for path in within] + ["file:///etc/passwd", "file:///none", "file:///dev/zero"]
    answers = {refused(url, media_folder=folder) for url in urls}
    assert answers == {"the URL names no file in the media folder that can be read"}


def test_a_file_that_may_not_be_read_gets_the_same_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: Any) -> None:  # by hand, since root may read everything
        raise PermissionError

    monkeypatch.setattr(Path, "open", forbid)
    assert "names no file" in refused(f"file://{folder}/page%201.png", media_folder=folder)


def test_a_folder_that_is_gone_has_no_files(tmp_path: Path) -> None:
    assert "names no file" in refused(f"file://{tmp_path}/gone/page.png", media_folder=tmp_path / "gone")


def test_a_file_over_the_limit_is_refused(folder: Path) -> None:
    url = f"file://{folder}/page%201.png"
    assert get(url, media_folder=folder, max_bytes=len(IMAGE)) == IMAGE
    assert "more than 1000 bytes" in refused(url, media_folder=folder, max_bytes=1000)


@pytest.mark.parametrize("url", ["file://server/share/page.png", "file:///page.png?x", "file:///page.png#x"])
def test_a_file_url_names_a_path_of_this_machine_and_no_more(folder: Path, url: str) -> None:
    assert "file:///path" in refused(url, media_folder=folder)
