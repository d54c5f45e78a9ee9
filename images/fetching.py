"""The content of an http, https or file URL, within limits.

A client names the URL, but this machine connects to it: every hop goes through the guard of `images/addresses.py`.
"""

import asyncio
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote_to_bytes

import httpcore

from images.addresses import AddressError, CheckedNetwork, header_host, http_url, split, tls
from images.errors import InvalidImage, Unreachable

REDIRECTS = (301, 302, 303, 307, 308)
PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses after which the same request may succeed
HEADERS = [(b"User-Agent", b"paddleocr-vl-server"), (b"Accept-Encoding", b"identity"), (b"Connection", b"close")]


@dataclass(frozen=True)
class FetchLimits:
    """Limits of one fetch, and what an operator allows beyond public addresses."""

    max_bytes: int = 20 * 2**20
    seconds: float = 20.0  # for the whole fetch, all hops
    max_redirects: int = 3
    allowed_hosts: tuple[str, ...] = ()  # names, IP literals, *.corp.example; their addresses may be private
    media_folder: Path | None = None  # file:// URLs may name files under it; None: no local files


async def fetch(url: str, param: str, limits: FetchLimits) -> bytes:
    """The content of an http, https or file URL. Raises InvalidImage with `param`."""
    try:
        async with asyncio.timeout(limits.seconds):
            parts = split(url)
            if parts.scheme == "file":
                return await asyncio.to_thread(_read_file, parts, limits)
            return await _get(url, limits)
    except AddressError as error:
        kind = Unreachable if error.passing else InvalidImage
        raise kind(f"the URL {error}", param) from None
    except TimeoutError:
        raise Unreachable(f"the URL takes longer than {limits.seconds:g} seconds to fetch", param) from None


def _read_file(parts: SplitResult, limits: FetchLimits) -> bytes:
    """The content of a local file. Raises AddressError.

    A file that is missing, outside or unreadable gets the same message, so that clients cannot probe for files.
    """
    if limits.media_folder is None:
        raise AddressError("names a local file, and none may be read; an operator can allow a folder with MEDIA_FOLDER")
    if parts.netloc.lower() not in ("", "localhost") or parts.query or parts.fragment:
        raise AddressError("is not of the form file:///path; percent-encode ? and # in a file's name")
    try:
        path = Path(os.fsdecode(unquote_to_bytes(parts.path))).resolve(strict=True)
        if not path.is_relative_to(limits.media_folder.resolve(strict=True)) or not path.is_file():
            raise FileNotFoundError
        with path.open("rb") as file:
            data = file.read(limits.max_bytes + 1)
    except (OSError, ValueError, RuntimeError):  # NUL: ValueError; a symlink loop before 3.13: RuntimeError
        raise AddressError("does not name a readable file in the media folder") from None
    _check_size(len(data), limits)
    return data


async def _get(url: str, limits: FetchLimits) -> bytes:
    """The body of a URL, after its redirects. Raises AddressError."""
    base = ""
    for hop in range(limits.max_redirects + 1):
        try:
            parts = split(url, base)
            answer = await _request(http_url(parts), limits)
        except AddressError as error:
            said = f"redirects to a URL that {error}" if hop else str(error)
            raise AddressError(said, passing=error.passing) from None
        if isinstance(answer, bytes):
            return answer
        url, base = answer, parts.geturl()
    raise AddressError(f"redirects more than {limits.max_redirects} times")


async def _request(url: httpcore.URL, limits: FetchLimits) -> bytes | str:
    """The body, or the target of a redirect. Raises AddressError."""
    headers = [(b"Host", header_host(url)), *HEADERS]
    network = CheckedNetwork(limits.allowed_hosts, limits.seconds)
    try:
        async with (
            httpcore.AsyncConnectionPool(ssl_context=tls(), network_backend=network) as pool,
            pool.stream("GET", url, headers=headers) as response,
        ):
            fields = {name.lower(): value for name, value in response.headers}
            if response.status in REDIRECTS and b"location" in fields:
                return fields[b"location"].decode(errors="replace")
            return await _body(response, fields, limits)
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        if any(isinstance(cause, ssl.SSLError) for cause in error.args):
            raise AddressError("names a server whose TLS certificate or handshake is not valid") from None
        raise AddressError("names a server that cannot be reached", passing=True) from None
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError):
        raise AddressError("gets an answer that breaks off or is not HTTP", passing=True) from None


async def _body(response: httpcore.Response, fields: dict[bytes, bytes], limits: FetchLimits) -> bytes:
    if response.status != 200:
        passing = response.status in PASSING
        raise AddressError(f"gets status {response.status}; it must be 200", passing=passing)
    if fields.get(b"content-encoding", b"identity").lower() != b"identity":
        raise AddressError("gets a compressed answer; it must have no content-encoding")
    _check_size(int(fields.get(b"content-length", b"0")), limits)
    data = bytearray()
    async for chunk in response.aiter_stream():
        data += chunk
        _check_size(len(data), limits)
        await asyncio.sleep(0)  # many one-byte chunks must not block the event loop
    return bytes(data)


def _check_size(size: int, limits: FetchLimits) -> None:
    if size > limits.max_bytes:
        raise AddressError(f"holds more than {limits.max_bytes} bytes")
