"""ASGI middleware around every HTTP request: the part that all have in common, and the clock."""

import asyncio
import time
from typing import Any
from weakref import WeakSet

from starlette.types import ASGIApp, Receive, Scope, Send


class HttpMiddleware:
    """Base of middleware for HTTP requests; other scopes pass through."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.handle(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request, usually by `self.app`."""
        raise NotImplementedError


class RequestTasks(HttpMiddleware):
    """Notes when each request came and the task that answers it, so that a shutdown can wait for it."""

    def __init__(self, app: ASGIApp, tasks: WeakSet[asyncio.Task[Any]]) -> None:
        super().__init__(app)
        self.tasks = tasks

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        scope.setdefault("state", {})["arrived"] = time.monotonic()
        await self.app(scope, receive, send)
