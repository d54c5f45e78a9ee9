"""Who may ask, and how often: API keys and a rate of requests for each of them."""

import hmac
import logging
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError
from api.metrics import RATE_LIMITED
from api.middleware import HttpMiddleware

logger = logging.getLogger(__name__)

OPEN = {"/health", "/ping"}  # without a key, as BentoML's own probes are; everything else needs one
METRICS = "/metrics"
SECRET = re.compile(r"[\x21-\x2b\x2d-\x7e]{16,512}")  # what a header can carry, without the comma
NAME = re.compile(r"[\w.@-]{1,64}")
MAX_CLIENTS = 10_000  # whose rates are remembered; about 2 MB
MINUTE = 60.0
RATE_HEADERS = tuple(f"x-ratelimit-{name}-requests" for name in ("limit", "remaining", "reset"))
"""How many requests a minute are let in, how many are left at once, and in how many seconds all will be."""


@dataclass(frozen=True)
class Key:
    client: str
    digest: bytes  # the secret itself is not kept


def parse_keys(text: str) -> tuple[Key, ...]:
    """Keys as `NAME:SECRET` or `SECRET`, separated by commas or line ends; in lines, `#` begins a comment.

    A client may have several. Raises ValueError, which tells no secret.
    """
    entries = [part.strip() for line in text.splitlines() if not line.startswith("#") for part in line.split(",")]
    keys: dict[bytes, Key] = {}
    for number, entry in enumerate(filter(None, entries), 1):
        name, colon, secret = entry.partition(":")
        if not colon:
            name, secret = f"key-{number}", entry
        if not NAME.fullmatch(name):
            raise ValueError(f"The name of key {number} is none: use letters, digits and .@_- for it, at most 64")
        if not SECRET.fullmatch(secret):
            raise ValueError(
                f"Key {number} is not NAME:SECRET with a secret of 16 to 512 visible ASCII characters, as `openssl "
                "rand -hex 32` makes one"
            )
        digest = sha256(secret.encode()).digest()
        if digest in keys:
            raise ValueError(f"Key {number} has the secret of another one")
        keys[digest] = Key(name, digest)
    if not keys:
        raise ValueError("There is no key in it: use NAME:SECRET")
    return tuple(keys.values())


class Keys:
    """From a text, or from a file that is read again when it changes, as it does where secrets are rotated."""

    def __init__(self, source: str | Path) -> None:
        """Raises ValueError, OSError."""
        self._file = source if isinstance(source, Path) else None
        self._seen = self._stamp()
        self._told = False  # that the file cannot be used
        self._keys = parse_keys(source if isinstance(source, str) else source.read_text())

    def client_of(self, secret: str) -> str | None:
        """Whose secret it is. Takes the same time for all that are wrong: every key is compared, by its digest."""
        self._refresh()
        digest = sha256(secret.encode()).digest()
        owners = [key.client for key in self._keys if hmac.compare_digest(key.digest, digest)]
        return owners[0] if owners else None

    def _stamp(self) -> tuple[int, int, int] | None:
        if self._file is None:
            return None
        status = self._file.stat()
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _refresh(self) -> None:
        """A file that cannot be used changes nothing: the keys from before hold."""
        try:
            stamp = self._stamp()
            if stamp != self._seen and self._file is not None:
                self._keys = parse_keys(self._file.read_text())
                self._seen, self._told = stamp, False
                logger.info("The keys were read again: there are %d.", len(self._keys))
        except (OSError, ValueError) as error:
            if not self._told:
                logger.error("The keys cannot be read again, and stay as they were: %s", error)
            self._told = True


class Rates:
    """So many requests a minute for each client, as a bucket of tokens that is refilled steadily."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when; by last use

    def spend(self, client: str) -> tuple[bool, float]:
        """Whether it may ask now, and the tokens that it has left, between 0 and `per_minute`."""
        now = self._clock()
        self._forget(now)
        tokens, since = self._buckets.pop(client, (float(self.per_minute), now))
        tokens = min(self.per_minute, tokens + self.seconds_to_tokens(now - since))
        allowed = tokens >= 1
        self._buckets[client] = (tokens - allowed, now)
        return allowed, tokens - allowed

    def seconds_to_tokens(self, seconds: float) -> float:
        return seconds * self.per_minute / MINUTE

    def seconds_for(self, tokens: float) -> float:
        return max(0.0, tokens) * MINUTE / self.per_minute

    def _forget(self, now: float) -> None:
        """Whoever did not ask for a minute has a full bucket again. Of too many, those who asked longest ago go too."""
        while self._buckets:
            client, (_, since) = next(iter(self._buckets.items()))
            if now - since < MINUTE and len(self._buckets) < MAX_CLIENTS:
                return
            del self._buckets[client]


class Authentication(HttpMiddleware):
    """Around every request: turns away who has no key, or asks too often, before anything of the body is read.

    `state.client` is the key's name, or the address where there are no keys; `state.known` says whether the request
    may be told everything.
    """

    def __init__(self, app: ASGIApp, keys: Keys | None, metrics_open: bool, rate_limit: int | None) -> None:
        """`rate_limit`: requests a minute of one client."""
        super().__init__(app)
        self._keys = keys
        self._open = OPEN | {METRICS} if metrics_open else OPEN
        self._rates = None if rate_limit is None else Rates(rate_limit)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[str, str] = {}

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        try:
            self._identify(scope)
            if self._rates is not None and scope["method"] == "POST" and scope["path"] not in OPEN:
                headers |= self._limit(scope["state"], self._rates)
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        await self.app(scope, receive, told if headers else send)

    def _identify(self, scope: Scope) -> None:
        state = scope["state"]
        state["client"] = address_of(scope)
        state["known"] = self._keys is None
        if self._keys is None:
            return
        scheme, _, secret = Headers(scope=scope).get("authorization", "").partition(" ")
        given = secret.strip() if scheme.lower() == "bearer" else ""
        client = self._keys.client_of(given)
        if client is not None:
            state["client"], state["known"] = client, True
        elif scope["path"] not in self._open:
            message = "Incorrect API key provided." if given else "You didn't provide an API key."
            raise ApiError(
                401,
                f"{message} Send one of this server's as Authorization: Bearer KEY.",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _limit(self, state: dict[str, object], rates: Rates) -> dict[str, str]:
        """The headers that tell how much is left, as OpenAI names them. Raises ApiError."""
        allowed, left = rates.spend(str(state["client"]))
        values = rates.per_minute, int(left), f"{rates.seconds_for(rates.per_minute - left):.3f}s"
        headers = dict(zip(RATE_HEADERS, map(str, values), strict=True))
        if allowed:
            return headers
        wait = math.ceil(rates.seconds_for(1 - left))
        state["rejection"] = RATE_LIMITED
        raise ApiError(
            429,
            f"{rates.per_minute} requests a minute are the most for one client; ask again in {wait} s",
            type_="rate_limit_error",
            code="rate_limit_exceeded",
            headers=headers | {"Retry-After": str(wait)},
        )


def address_of(scope: Scope) -> str:
    """The client's, of IPv6 the network that one customer has: its addresses are without number."""
    host = scope["client"][0] if scope.get("client") else "unknown"
    try:
        address = ip_address(host)
    except ValueError:
        return str(host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(getattr(address, "ipv4_mapped", None) or address)
