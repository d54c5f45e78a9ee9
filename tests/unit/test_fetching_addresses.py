"""Addresses that a fetch may reach, directly and by redirects, and URLs that are valid."""

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpcore
import pytest

from images import fetching
from tests.file_server import IMAGE, Server, file_server, get, named, refused

PUBLIC = "93.184.215.14"


@pytest.fixture
def server() -> Iterator[Server]:
    with file_server() as server:
        yield server


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of all connections; each connection leads to this machine."""
    addresses: list[str] = []
    connect = httpcore.AnyIOBackend.connect_tcp

    async def recorded(self: httpcore.AnyIOBackend, host: str, *rest: Any) -> httpcore.AsyncNetworkStream:
        addresses.append(host)
        return await connect(self, "127.0.0.1", *rest)

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", recorded)
    return addresses


# Public addresses


@pytest.mark.parametrize("address", [PUBLIC, "2606:4700:4700::1111", f"::ffff:{PUBLIC}", "64:ff9b::5db8:d70e"])
def test_a_public_address_needs_no_permission(
    server: Server, monkeypatch: pytest.MonkeyPatch, connected: list[str], address: str
) -> None:
    named(monkeypatch, images=[[address]])
    assert get(server.url(host="images.example"), allowed_hosts=()) == IMAGE
    assert [ip_address(one) for one in connected] == [ip_address(address)]


def test_the_next_address_is_tried_when_one_cannot_be_reached(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, images=[["::1", "127.0.0.1"]])
    assert get(server.url(host="images.example"), allowed_hosts=("images.example",)) == IMAGE


# Addresses that are not public

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
    assert "not a public address" in refused("http://images.example/page.png")
    assert not connected


def test_a_name_with_one_private_address_is_refused_without_revealing_it(
    monkeypatch: pytest.MonkeyPatch, connected: list[str]
) -> None:
    named(monkeypatch, images=[[PUBLIC, "10.1.2.3"]])
    message = refused("http://images.example/page.png")
    assert "not a public address" in message
    assert "10.1.2.3" not in message
    assert not connected


def test_the_connection_goes_to_the_address_that_was_checked(
    server: Server, monkeypatch: pytest.MonkeyPatch, connected: list[str]
) -> None:
    """The name server would return a private address when asked again, so it must not be asked again."""
    names = named(monkeypatch, images=[[PUBLIC], ["127.0.0.1"]])
    assert get(server.url(host="images.example"), allowed_hosts=()) == IMAGE
    assert names.asked == ["images.example"]
    assert connected == [PUBLIC]
    assert server.asked[0][1]["Host"] == f"images.example:{server.server_port}"


# Hosts allowed by an operator


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
def test_an_allowed_address_matches_in_every_form(server: Server, connected: list[str], allowed: str) -> None:
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
def test_a_public_server_cannot_redirect_to_a_private_one(
    server: Server, monkeypatch: pytest.MonkeyPatch, connected: list[str], secret: str
) -> None:
    """Nor can it redirect to another port of this machine."""
    names = named(monkeypatch, images=[[PUBLIC]], metadata=[["169.254.169.254"]])
    for host, address in {"169.254.169.254": "169.254.169.254", "::1": "::1", "10.0.0.1": "10.0.0.1"}.items():
        names.answers[host] = [[address]]
    names.answers["0x7f.1"] = [["127.0.0.1"]]
    server.redirect("/old", f"http://{secret}:{server.server_port + 1}/latest/meta-data/")
    message = refused(server.url("/old", host="images.example"), allowed_hosts=())
    assert "redirects to a URL that names a host that is not a public address" in message
    assert connected == [PUBLIC]


def test_a_redirect_to_the_same_host_is_looked_up_and_checked_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, connected: list[str]
) -> None:
    named(monkeypatch, images=[[PUBLIC], ["127.0.0.1"]])
    server.redirect("/old", "/page.png")
    assert "not a public address" in refused(server.url("/old", host="images.example"))
    assert connected == [PUBLIC]


@pytest.mark.parametrize("to", ["file:///etc/hostname", "ftp://127.0.0.1/", "data:image/png;base64,AAAA", "gopher:x"])
def test_a_redirect_may_only_lead_to_http(server: Server, to: str) -> None:
    message = refused(server.redirect("/old", to), media_folder=Path("/"))
    assert "redirects to a URL that does not start with http:// or https://" in message


@pytest.mark.parametrize("to", ["http://[", "//:0/", "http://user@127.0.0.1/", "http://a..b/", "//" + "a" * 9000])
def test_a_redirect_must_be_a_valid_url(server: Server, to: str) -> None:
    assert refused(server.redirect("/old", to)).startswith("the URL redirects to a URL that ")
    assert len(server.asked) == 1


def test_a_loop_of_redirects_ends(server: Server) -> None:
    assert "redirects more than 3 times" in refused(server.redirect("/old", "/old"))
    assert len(server.asked) == 4


def test_redirects_up_to_the_limit_are_followed(server: Server) -> None:
    server.redirect("/1", "/2")
    server.redirect("/2", "/page.png")
    assert get(server.url("/1"), max_redirects=2) == IMAGE
    assert "redirects more than 1 times" in refused(server.url("/1"), max_redirects=1)


def test_a_redirect_without_a_location_is_an_error(server: Server) -> None:
    server.answers["/old"] = lambda handler: handler.answer(302)
    assert "status 302" in refused(server.url("/old"))


# Invalid URLs


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
def test_a_malformed_url_is_refused(connected: list[str], monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    named(monkeypatch)
    refused(url, media_folder=Path("/"))
    assert not connected
