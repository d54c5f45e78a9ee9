"""Errors in the shapes that clients of other services read, whatever layer they come from."""

import json
from collections.abc import Callable
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.middleware import HttpMiddleware


def paddleocr(status: int, message: str) -> tuple[int, dict[str, Any]]:
    return status, {"code": status, "msg": message}


def simple_ocr(status: int, message: str) -> tuple[int, dict[str, Any]]:
    return 422 if status == 400 else status, {"detail": message}


SHAPES: dict[str, Callable[[int, str], tuple[int, dict[str, Any]]]] = {
    "/api/v2/ocr/": paddleocr,
    "/api/v1/ocr/": simple_ocr,
}
"""By the beginnings of paths."""


class Envelopes(HttpMiddleware):
    """Middleware that puts errors into them; other answers pass."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        shape = next((shape for prefix, shape in SHAPES.items() if scope["path"].startswith(prefix)), None)
        app: ASGIApp = self.app
        await app(scope, receive, send if shape is None else _Reshaping(send, shape))


class _Reshaping:
    """A `send` that holds an error back until its body is whole."""

    def __init__(self, send: Send, shape: Callable[[int, str], tuple[int, dict[str, Any]]]) -> None:
        self._send, self._shape = send, shape
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._send_reshaped(self._start)

    async def _send_reshaped(self, start: Message) -> None:
        if self._body:  # otherwise the client has gone
            said = json.loads(self._body)["error"]["message"]
            start["status"], content = self._shape(start["status"], said)
            self._body = json.dumps(content).encode()
            MutableHeaders(scope=start)["content-length"] = str(len(self._body))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": self._body})
