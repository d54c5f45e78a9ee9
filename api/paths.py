"""Requests as clients send them: paths with surplus slashes, and HEAD where there is GET."""

import re

from starlette.types import Message, Receive, Scope, Send

from api.middleware import HttpMiddleware


class PlainPaths(HttpMiddleware):
    """Middleware that drops surplus slashes of a path, and answers HEAD as GET without its body."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = re.sub("/{2,}", "/", scope["path"])
        path = path.rstrip("/") or "/"
        if scope["method"] != "HEAD":
            await self.app({**scope, "path": path}, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self.app({**scope, "path": path, "method": "GET"}, receive, without_body)
