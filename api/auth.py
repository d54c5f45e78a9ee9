"""Authentication and rate limits, before anything of a request's body is read."""

import math
from ipaddress import IPv6Address, ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import RATE_LIMITED, ApiError
from api.keys import Keys
from api.middleware import HttpMiddleware
from api.page import FILES, ROOT
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

    def __init__(
        self,
        app: ASGIApp,
        keys: Keys | None,
        metrics_open: bool,
        rate_limit: int | None,
        open_prefixes: tuple[str, ...] = (),
        page: bool = False,
    ) -> None:
        """`rate_limit`: requests a minute of one client; `open_prefixes`: of paths that check for themselves; `page`:
        the page for people needs no key.
        """
        super().__init__(app)
        self._open_prefixes = open_prefixes
        self._keys = keys
        self._open = OPEN | {METRICS} if metrics_open else OPEN
        self._page = page
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
        elif not self._is_open(scope["path"]):
            message = "Incorrect API key provided." if given else "You didn't provide an API key."
            raise ApiError(
                401,
                f"{message} Send one of this server's as Authorization: Bearer KEY.",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _is_open(self, path: str) -> bool:
        if path in self._open or path.startswith(self._open_prefixes):
            return True
        return self._page and (path == ROOT or path.startswith(FILES))

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
