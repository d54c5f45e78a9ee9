"""Clients that leave or stop reading: what they asked for ends with them."""

import asyncio
import logging
from collections.abc import Coroutine, MutableMapping
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.completion import Completion
from api.errors import ApiError
from api.gate import GONE

T = TypeVar("T")

logger = logging.getLogger(__name__)

READER_SECONDS = 60.0  # a stream's patience with a client that reads nothing, as nginx's send_timeout


class CompletionStream(StreamingResponse):
    """A stream of server-sent events whose generation ends with it, however it ends, even before its first byte."""

    def __init__(self, completion: Completion, headers: dict[str, str]) -> None:
        super().__init__(completion.stream(), media_type="text/event-stream", headers=headers)
        self.headers["Cache-Control"] = "no-cache"
        self.headers["X-Accel-Buffering"] = "no"  # nginx would hold the stream back
        self._completion = completion

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def in_time(message: MutableMapping[str, Any]) -> None:
            try:
                async with asyncio.timeout(READER_SECONDS):
                    await send(message)
            except TimeoutError:
                raise StalledReaderError from None

        try:
            await super().__call__(scope, receive, in_time)
        except StalledReaderError:  # without an end of the body, the connection is closed
            logger.info("A client has read nothing of its stream for %g s", READER_SECONDS)
        finally:
            self._completion.abort()


class StalledReaderError(Exception):
    """The client does not read what is sent."""


class ClientGoneError(ApiError):
    """An answer without a reader, for the log and the metrics."""

    def __init__(self) -> None:
        super().__init__(GONE, "the client has left")


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The outcome of `work`, which is cancelled when the client leaves: a handler does not learn of that by itself.

    Raises ClientGoneError, or as `work`.
    """
    task, gone = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    """Return when the client leaves; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
