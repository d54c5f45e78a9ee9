"""Authentication and rate limits, before anything of a request's body is read."""

import math
from ipaddress import IPv6Address, ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError
from api.keys import Keys
from api.metrics import RATE_LIMITED
from api.middleware import HttpMiddleware
from api.rates import Rates

OPEN = {"/health", "/ping"}  # without a key, as BentoML's own probes are; every other path needs one
METRICS = "/metrics"
SCHEMES = ("bearer", "token")  # the second as PaddleOCR's services want it, and clients of /layout-parsing send it
RATE_HEADERS = tuple(f"x-ratelimit-{name}-requests" for name in ("limit", "remaining", "reset"))
"""Headers with the requests allowed a minute, those left now, and the seconds until all are available again."""


class Authentication(HttpMiddleware):
    """Middleware that refuses requests without a valid key, and those of clients that ask too often.

    `state.client` is the key's name, or the address where there are no keys; `state.known` says whether the client
    may see everything.
    """

    def __init__(self, app: ASGIApp, keys: Keys | None, metrics_open: bool, rate_limit: int | None) -> None:
        """`rate_limit`: requests a minute of one client."""
        super().__init__(app)
        self._keys = keys
        self._open = OPEN | {METRICS} if metrics_open else OPEN
        self._rates = None if rate_limit is None else Rates(rate_limit)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[str, str] = {}

        async def with_headers(message: Message) -> None:
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
        await self.app(scope, receive, with_headers if headers else send)

    def _identify(self, scope: Scope) -> None:
        state = scope["state"]
        state["client"] = address_of(scope)
        state["known"] = self._keys is None
        if self._keys is None:
            return
        scheme, _, secret = Headers(scope=scope).get("authorization", "").partition(" ")
        given = secret.strip() if scheme.lower() in SCHEMES else ""
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
        """The headers with the rate that is left, as OpenAI names them. Raises ApiError."""
        allowed, left = rates.spend(str(state["client"]))
        values = rates.per_minute, int(left), f"{rates.seconds_for(rates.per_minute - left):.3f}s"
        headers = dict(zip(RATE_HEADERS, map(str, values), strict=True))
        if allowed:
            return headers
        wait = math.ceil(rates.seconds_for(1 - left))
        state["rejection"] = RATE_LIMITED
        raise ApiError(
            429,
            f"one client may send {rates.per_minute} requests a minute; ask again in {wait} s",
            type_="rate_limit_error",
            code="rate_limit_exceeded",
            headers=headers | {"Retry-After": str(wait)},
        )


def address_of(scope: Scope) -> str:
    """The client's address; for IPv6 its /64 network, since one customer controls all of it."""
    host = scope["client"][0] if scope.get("client") else "unknown"
    try:
        address = ip_address(host)
    except ValueError:
        return str(host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(getattr(address, "ipv4_mapped", None) or address)
