"""Patches of BentoML and of Tornado, on which it runs; written for the BentoML version named here.

tests/unit/test_bentoml_patches.py fails once a patch is no longer needed, and when BentoML's version changes.
"""

import time
from typing import Any

from bentoml._internal.server.http.traffic import TimeoutMiddleware

BENTOML_VERSION = "1.4.39"


def bypass_request_timeout() -> None:
    """Bypass BentoML's request time-out, which cannot be disabled; REQUEST_SECONDS replaces it and frees the slot.

    Each request leaves a timer until the limit is reached. A timer holds the context it was made in, which on a
    keep-alive connection contains an earlier request, body included: an hour's requests would stay in memory.
    """

    async def bypass(middleware: Any, scope: Any, receive: Any, send: Any) -> None:
        await middleware.app(scope, receive, send)

    TimeoutMiddleware.__call__ = bypass  # type: ignore[method-assign, assignment]


def use_steady_clock() -> None:
    """Schedule the parent's checks for dead workers by a clock that never jumps.

    Tornado schedules them by the wall clock: if that is set back by hours, the next check is hours away.
    """
    from tornado.ioloop import IOLoop

    IOLoop.time = lambda _: time.monotonic()  # type: ignore[method-assign, assignment]
