"""A rate of requests for each client."""

import time
from collections import OrderedDict
from collections.abc import Callable

MAX_CLIENTS = 10_000  # clients whose rates are remembered; about 2 MB
MINUTE = 60.0


class Rates:
    """Requests a minute for each client, as a bucket of tokens that refills steadily."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens and when; least recent first

    def spend(self, client: str) -> tuple[bool, float]:
        """Whether the client may ask now, and the tokens it has left, between 0 and `per_minute`."""
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
        """Drop clients idle for a minute, whose buckets are full again; beyond the limit, the least recent ones too."""
        while self._buckets:
            client, (_, since) = next(iter(self._buckets.items()))
            if now - since < MINUTE and len(self._buckets) < MAX_CLIENTS:
                return
            del self._buckets[client]
