"""The content of an http, https or file URL, within limits.

A client names the URL, but this machine connects to it; so only public addresses are reached, unless an operator allows
a host. Each hop looks up its host once and connects to an address that was checked, without asking the name server
again. Error messages reveal nothing about the addresses of a name.
"""

import asyncio
import functools
import os
import re
import socket
import ssl
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote_to_bytes, urljoin, urlsplit

import httpcore

from images.errors import InvalidImage

MAX_URL = 8192  # characters; urllib caches the last URLs that it split, so they must be small
RESOLVERS = 8  # threads
PORTS = {"http": 80, "https": 443}
REDIRECTS = (301, 302, 303, 307, 308)
HEADERS = [(b"User-Agent", b"paddleocr-vl-server"), (b"Accept-Encoding", b"identity"), (b"Connection", b"close")]
CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # urllib would silently drop some of them
HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
NAT64 = ip_network("64:ff9b::/96")
GLOBAL_UNICAST = ip_network("2000::/3")  # all public IPv6 addresses; ipaddress counts more as global
# Not public, whatever `is_global` of this Python version says: Azure's address for its virtual machines; protocol
# assignments, including Teredo; 6to4 and its relays; documentation.
SPECIAL = "168.63.129.16/32 192.0.0.0/24 2001::/23 2002::/16 192.88.99.0/24 3fff::/20"
SPECIAL_BLOCKS = [ip_network(block) for block in SPECIAL.split()]


@dataclass(frozen=True)
class FetchLimits:
    """Limits of one fetch, and what an operator allows beyond public addresses."""

    max_bytes: int = 20 * 2**20
    seconds: float = 20.0  # for the whole fetch, all hops
    max_redirects: int = 3
    allowed_hosts: tuple[str, ...] = ()  # names, IP literals, *.corp.example; their addresses may be private
    media_folder: Path | None = None  # file:// URLs may name files under it; None: no local files


class _FetchError(Exception):
    """A fault of a URL, worded as the end of a sentence that begins with "the URL"."""


async def fetch(url: str, param: str, limits: FetchLimits) -> bytes:
    """The content of an http, https or file URL. Raises InvalidImage with `param`."""
    try:
        async with asyncio.timeout(limits.seconds):
            parts = _split(url)
            if parts.scheme == "file":
                return await asyncio.to_thread(_read_file, parts, limits)
            return await _get(url, limits)
    except _FetchError as error:
        raise InvalidImage(f"the URL {error}", param) from None
    except TimeoutError:
        raise InvalidImage(f"the URL takes longer than {limits.seconds:g} seconds to fetch", param) from None


def _read_file(parts: SplitResult, limits: FetchLimits) -> bytes:
    """The content of a local file. Raises _FetchError.

    A file that is missing, outside or unreadable gets the same message, so that clients cannot probe for files.
    """
    if limits.media_folder is None:
        raise _FetchError("names a local file, and none may be read; an operator can allow a folder with MEDIA_FOLDER")
    if parts.netloc.lower() not in ("", "localhost") or parts.query or parts.fragment:
        raise _FetchError("is not of the form file:///path; percent-encode ? and # in a file's name")
    try:
        path = Path(os.fsdecode(unquote_to_bytes(parts.path))).resolve(strict=True)
        if not path.is_relative_to(limits.media_folder.resolve(strict=True)) or not path.is_file():
            raise FileNotFoundError
        with path.open("rb") as file:
            data = file.read(limits.max_bytes + 1)
    except (OSError, ValueError, RuntimeError):  # NUL: ValueError; a symlink loop before 3.13: RuntimeError
        raise _FetchError("does not name a readable file in the media folder") from None
    _check_size(len(data), limits)
    return data


async def _get(url: str, limits: FetchLimits) -> bytes:
    """The body of a URL, after its redirects. Raises _FetchError."""
    base = ""
    for hop in range(limits.max_redirects + 1):
        try:
            parts = _split(url, base)
            answer = await _request(_http_url(parts), limits)
        except _FetchError as error:
            raise _FetchError(f"redirects to a URL that {error}" if hop else str(error)) from None
        if isinstance(answer, bytes):
            return answer
        url, base = answer, parts.geturl()
    raise _FetchError(f"redirects more than {limits.max_redirects} times")


async def _request(url: httpcore.URL, limits: FetchLimits) -> bytes | str:
    """The body, or the target of a redirect. Raises _FetchError."""
    host = b"[%b]" % url.host if b":" in url.host else url.host
    headers = [(b"Host", b"%b:%d" % (host, url.port) if url.port else host), *HEADERS]
    network = _CheckedNetwork(limits)
    try:
        async with (
            httpcore.AsyncConnectionPool(ssl_context=_tls(), network_backend=network) as pool,
            pool.stream("GET", url, headers=headers) as response,
        ):
            fields = {name.lower(): value for name, value in response.headers}
            if response.status in REDIRECTS and b"location" in fields:
                return fields[b"location"].decode(errors="replace")
            return await _body(response, fields, limits)
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        if any(isinstance(cause, ssl.SSLError) for cause in error.args):
            raise _FetchError("names a server whose TLS certificate or handshake is not valid") from None
        raise _FetchError("names a server that cannot be reached") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError):
        raise _FetchError("gets an answer that breaks off or is not HTTP") from None


async def _body(response: httpcore.Response, fields: dict[bytes, bytes], limits: FetchLimits) -> bytes:
    if response.status != 200:
        raise _FetchError(f"gets status {response.status}; it must be 200")
    if fields.get(b"content-encoding", b"identity").lower() != b"identity":
        raise _FetchError("gets a compressed answer; it must have no content-encoding")
    _check_size(int(fields.get(b"content-length", b"0")), limits)
    data = bytearray()
    async for chunk in response.aiter_stream():
        data += chunk
        _check_size(len(data), limits)
        await asyncio.sleep(0)  # many one-byte chunks must not block the event loop
    return bytes(data)


def _check_size(size: int, limits: FetchLimits) -> None:
    if size > limits.max_bytes:
        raise _FetchError(f"holds more than {limits.max_bytes} bytes")


def _split(url: str, base: str = "") -> SplitResult:
    if len(url) > MAX_URL:
        raise _FetchError(f"is over {MAX_URL} characters")
    if CONTROL.search(url):
        raise _FetchError("contains control characters; percent-encode them")
    try:
        return urlsplit(urljoin(base, url))
    except ValueError:
        raise _FetchError("is malformed; it must be like https://host/path") from None


def _http_url(parts: SplitResult) -> httpcore.URL:
    if parts.scheme not in PORTS:
        raise _FetchError("does not start with http:// or https://")
    if "@" in parts.netloc:
        raise _FetchError("contains a user name or password, which is never sent; leave it out")
    try:
        host, port = _ascii_host(parts.hostname or ""), parts.port
        if port == 0:
            raise ValueError
        port = None if port == PORTS[parts.scheme] else port  # the Host header omits the default port
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
        target += parts.query and "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?[]")
    except ValueError:
        raise _FetchError("has no valid host, port or path; it must be like https://host/path") from None
    return httpcore.URL(scheme=parts.scheme, host=host, port=port, target=target)


def _ascii_host(name: str) -> str:
    """The form of a host that is looked up, allowed, verified and sent. Raises ValueError."""
    if ":" in name and "%" not in name:
        return str(IPv6Address(name))
    host = name.encode("idna").decode().lower().removesuffix(".")
    if not HOST.fullmatch(host):
        raise ValueError
    return host


@functools.cache
def _tls() -> ssl.SSLContext:
    """Cached, since it loads all trusted certificates."""
    return httpcore.default_ssl_context()


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """A network backend that connects only to addresses it looked up and checked itself. Raises _FetchError."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's signature)
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await _look_up(host, port)
        if not _is_allowed(host, self._limits.allowed_hosts) and not all(map(_is_public, addresses)):
            raise _FetchError("names a host that is not a public address; an operator can allow it with ALLOWED_HOSTS")
        timeout = self._limits.seconds / len(addresses)  # an address that never answers leaves time for the others
        for address in addresses:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._network.connect_tcp(str(address), port, timeout, local_address, socket_options)
        raise httpcore.ConnectError


async def _look_up(host: str, port: int) -> list[IPv4Address | IPv6Address]:
    """At least one address; 127.1, 0x7f.1 and 2130706433 all become 127.0.0.1. Raises _FetchError."""
    ask = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        found = await asyncio.get_running_loop().run_in_executor(_resolvers(), ask)
    except OSError:
        raise _FetchError("names a host that cannot be found") from None
    return [ip_address(address) for *_, (address, *_) in found]


@functools.cache
def _resolvers() -> ThreadPoolExecutor:
    """A separate thread pool: a silent name server blocks a thread for longer than a fetch may take."""
    return ThreadPoolExecutor(RESOLVERS, thread_name_prefix="names")


def _is_allowed(host: str, allowed_hosts: tuple[str, ...]) -> bool:
    """*.corp.example matches every host below corp.example, but not corp.example itself."""
    allowed = [_canonical(name) for name in allowed_hosts]
    return host in allowed or any(host.endswith(name[1:]) for name in allowed if name.startswith("*."))


def _canonical(name: str) -> str:
    with suppress(ValueError):
        return str(ip_address(name.strip("[]")))
    return name.lower().removesuffix(".")


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        if address.scope_id:
            return False
        if address.ipv4_mapped or address in NAT64:
            return _is_public(IPv4Address(address.packed[-4:]))
        if address not in GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast and not any(address in block for block in SPECIAL_BLOCKS)
