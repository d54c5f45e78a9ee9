"""Bounds on a request's body: on its size before it is read, and on the time that it may take to arrive."""

import asyncio
import re
import time
import zlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError
from api.middleware import HttpMiddleware

ENCODINGS = ("identity", "gzip", "deflate")
AUTOMATIC = zlib.MAX_WBITS | 32  # zlib tells gzip and deflate apart by their headers
MAX_PARTS = 300_000  # commas and opening brackets: a second of the event loop's time to read and check
BODY_SECONDS = 30.0  # the default of the longest pause between two pieces of a body
GONE = 499  # nginx's number for a client that left, for the log and the metrics
MIN_RATE = 1000  # bytes a second of a long body: one that drips is as bad as one that stalls


class BodyLimits(HttpMiddleware):
    """Middleware that refuses bodies that are too big, have too many parts or arrive too slowly."""

    def __init__(self, app: ASGIApp, max_bytes: int, body_seconds: float, max_parts: float = MAX_PARTS) -> None:
        """`body_seconds`: the longest pause between two pieces of a body; `max_parts`: of its JSON."""
        super().__init__(app)
        self.max_bytes = max_bytes
        self.body_seconds = body_seconds
        self.max_parts = max_parts

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _announced(scope) > self.max_bytes:
            await ApiError(413, f"the request is over {self.max_bytes} bytes").response()(scope, receive, send)
            return

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 408:
                MutableHeaders(scope=message)["connection"] = "close"  # instead of waiting for the rest
            await send(message)

        encoding = Headers(scope=scope).get("content-encoding", "identity").strip().lower()
        if encoding not in ENCODINGS:
            message = f"the header Content-Encoding is {encoding!r:.40}; bodies are read as {', '.join(ENCODINGS)}"
            await ApiError(415, message).response()(scope, receive, send)
            return
        packed = encoding != "identity"
        body = _Body(receive, self.max_bytes, self.body_seconds, self.max_parts, packed=packed)
        await self.app(scope, body, closing)


def _announced(scope: Scope) -> int:
    """Bytes of the body by its Content-Length; 0 without one."""
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if re.fullmatch("[0-9]{1,20}", length) else 0


class _Body:
    """A `receive` that checks the body as it arrives. Raises HTTPException: 413 if it is too big, 408 if too slow.

    GONE if the client leaves before its end, which would otherwise look like an invalid body.
    """

    def __init__(self, receive: Receive, max_bytes: int, seconds: float, max_parts: float, *, packed: bool) -> None:
        """`packed`: by gzip or deflate; the limits hold for what comes out."""
        self._receive, self._max_bytes, self._seconds = receive, max_bytes, seconds
        self._max_parts = max_parts
        self._received = 0  # bytes
        self._parts = 0
        self._waited = 0.0  # seconds
        self._complete = False
        self._unpack = zlib.decompressobj(AUTOMATIC) if packed else None

    async def __call__(self) -> Message:
        if self._complete:  # the next message is the client's disconnect, whenever that is
            return await self._receive()
        allowed = min(self._seconds, self._seconds + self._received / MIN_RATE - self._waited)
        began = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, allowed)):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(
                408,
                f"the request's body comes too slowly: a pause may last {self._seconds:g} seconds, and after as many "
                f"it must have come at {MIN_RATE} bytes a second",
            ) from None
        if message["type"] == "http.disconnect":
            raise HTTPException(GONE, "the client has left")
        self._waited += time.monotonic() - began
        piece = self._unpacked(message.get("body", b""))
        self._received += len(piece)
        self._parts += sum(map(piece.count, (b",", b"[", b"{")))
        if self._received > self._max_bytes:
            raise HTTPException(413, f"the request is over {self._max_bytes} bytes")
        if self._parts > self._max_parts:
            raise HTTPException(413, f"the request has over {self._max_parts} parts, counted by commas and brackets")
        self._complete = not message.get("more_body", False)
        if self._complete and self._unpack is not None and not self._unpack.eof:
            raise HTTPException(400, "the body ends before its compressed data does")
        return {**message, "body": piece}

    def _unpacked(self, piece: bytes) -> bytes:
        """A piece without its compression, or enough of it to be too big. Raises HTTPException."""
        if self._unpack is None:
            return piece
        try:
            return self._unpack.decompress(piece, self._max_bytes - self._received + 1)
        except zlib.error:
            raise HTTPException(400, "the body is not compressed as its header Content-Encoding says") from None
