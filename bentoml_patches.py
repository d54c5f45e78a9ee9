"""Patches of BentoML and of what it runs on, each with its reason; written for the version named here.

tests/unit/test_bentoml_patches.py fails once a patch is no longer needed, and when BentoML's version changes.
"""

import time
from typing import Any

from bentoml._internal.server.http.traffic import TimeoutMiddleware

BENTOML_VERSION = "1.4.39"


def bypass_request_timeout() -> None:
    """Take BentoML's request time-out out of the way; REQUEST_SECONDS is ours, with a message and the slot freed.

    Whatever its limit, each request leaves a timer until then, and a timer holds the context it was made in: on a
    keep-alive connection an earlier request, body included. An hour's requests would stay in memory.
    """

    async def bypass(middleware: Any, scope: Any, receive: Any, send: Any) -> None:
        await middleware.app(scope, receive, send)

    TimeoutMiddleware.__call__ = bypass  # type: ignore[method-assign, assignment]


def use_steady_clock() -> None:
    """Have the parent look for dead workers by a clock that never jumps.

    Tornado schedules that look by the wall clock: once the clock is set back by hours, the next look is hours away.
    """
    from tornado.ioloop import IOLoop

    IOLoop.time = lambda _: time.monotonic()  # type: ignore[method-assign, assignment]
