"""Addresses that a client names and this machine connects to: only public ones, unless an operator allows a host.

Each connection looks up its host once and goes to an address that was checked, without asking the name server again.
Error messages reveal nothing about the addresses of a name.
"""

import asyncio
import functools
import re
import socket
import ssl
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import httpcore

MAX_URL = 8192  # characters; urllib caches the last URLs that it split, so they must be small
RESOLVERS = 8  # threads
PORTS = {"http": 80, "https": 443}
CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # urllib would silently drop some of them
HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
NAT64 = ip_network("64:ff9b::/96")
GLOBAL_UNICAST = ip_network("2000::/3")  # all public IPv6 addresses; ipaddress counts more as global
# Not public, whatever `is_global` of this Python version says: Azure's address for its virtual machines; protocol
# assignments, including Teredo; 6to4 and its relays; documentation.
SPECIAL = "168.63.129.16/32 192.0.0.0/24 2001::/23 2002::/16 192.88.99.0/24 3fff::/20"
SPECIAL_BLOCKS = [ip_network(block) for block in SPECIAL.split()]


class AddressError(Exception):
    """A fault of a URL, worded as the end of a sentence that begins with "the URL"."""

    def __init__(self, said: str, *, passing: bool = False) -> None:
        """`passing`: the same URL may work later."""
        super().__init__(said)
        self.passing = passing


def split(url: str, base: str = "") -> SplitResult:
    if len(url) > MAX_URL:
        raise AddressError(f"is over {MAX_URL} characters")
    if CONTROL.search(url):
        raise AddressError("contains control characters; percent-encode them")
    try:
        return urlsplit(urljoin(base, url))
    except ValueError:
        raise AddressError("is malformed; it must be like https://host/path") from None


def http_url(parts: SplitResult) -> httpcore.URL:
    if parts.scheme not in PORTS:
        raise AddressError("does not start with http:// or https://")
    if "@" in parts.netloc:
        raise AddressError("contains a user name or password, which is never sent; leave it out")
    try:
        host, port = _ascii_host(parts.hostname or ""), parts.port
        if port == 0:
            raise ValueError
        port = None if port == PORTS[parts.scheme] else port  # the Host header omits the default port
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
        target += parts.query and "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?[]")
    except ValueError:
        raise AddressError("has no valid host, port or path; it must be like https://host/path") from None
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
def tls() -> ssl.SSLContext:
    """Cached, since it loads all trusted certificates."""
    return httpcore.default_ssl_context()


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """A network backend that connects only to addresses it looked up and checked itself. Raises AddressError."""

    def __init__(self, allowed_hosts: Sequence[str], seconds: float) -> None:
        """`allowed_hosts`: whose addresses may be private; `seconds`: for connecting to all addresses of a name."""
        self._allowed_hosts, self._seconds = allowed_hosts, seconds
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
        if not _is_allowed(host, self._allowed_hosts) and not all(map(_is_public, addresses)):
            raise AddressError("names a host that is not a public address; an operator can allow it with ALLOWED_HOSTS")
        timeout = self._seconds / len(addresses)  # an address that never answers leaves time for the others
        for address in addresses:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._network.connect_tcp(str(address), port, timeout, local_address, socket_options)
        raise httpcore.ConnectError


async def _look_up(host: str, port: int) -> list[IPv4Address | IPv6Address]:
    """At least one address; 127.1, 0x7f.1 and 2130706433 all become 127.0.0.1. Raises AddressError."""
    ask = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        found = await asyncio.get_running_loop().run_in_executor(resolvers(), ask)
    except OSError:
        raise AddressError("names a host that cannot be found", passing=True) from None
    return [ip_address(address) for *_, (address, *_) in found]


@functools.cache
def resolvers() -> ThreadPoolExecutor:
    """A separate thread pool: a silent name server blocks a thread for longer than a fetch may take."""
    return ThreadPoolExecutor(RESOLVERS, thread_name_prefix="names")


def _is_allowed(host: str, allowed_hosts: Sequence[str]) -> bool:
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


def header_host(url: httpcore.URL) -> bytes:
    """The Host header of a URL."""
    host = b"[%b]" % url.host if b":" in url.host else url.host
    return b"%b:%d" % (host, url.port) if url.port else host
