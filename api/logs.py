"""The log of requests: one line for each, and its id in every line that is written on its behalf.

It holds neither images nor keys, and texts only if an operator asks for them. Text or JSON, one line a record.
"""

import json
import logging
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from api.middleware import HttpMiddleware
from api.page import FILES

logger = logging.getLogger(__name__)

LogFormat = Literal["text", "json"]
PACKAGES = ("api", "answers", "images", "engine", "models")  # packages with loggers of their own
QUIET = {"/health", "/ping", "/metrics"}  # polled all the time; logged at level debug only
GOOD_ID = re.compile(r"[\x21-\x7e]{1,128}")
MAX_PATH = 200  # characters
MAX_TEXT = 2000  # characters of a prompt or an answer

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that the current task or thread works for."""


def cut(text: str, length: int = MAX_TEXT) -> str:
    return text if len(text) <= length else f"{text[:length]}... ({len(text)} characters)"


class RequestLog(HttpMiddleware):
    """Middleware that gives a request an id, or takes the client's, and writes its line once it is over.

    The line of a chat request includes the facts of `state.completion`.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).get("x-request-id", "")
        own = given if GOOD_ID.fullmatch(given) else f"req-{uuid.uuid4().hex}"
        scope.setdefault("state", {})["request_id"] = own
        request_id.set(own)
        started = time.monotonic()
        status = 500  # if nothing is sent here, an outer layer answers

        async def with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = own
            await send(message)

        try:
            await self.app(scope, receive, with_id)
        finally:
            facts = {"status": status, "seconds": round(time.monotonic() - started, 4)}
            with suppressed_errors("The log line of a request is incomplete"):
                facts |= facts_of(scope)
            quiet = scope["path"] in QUIET or scope["path"].startswith(FILES)
            level = logging.DEBUG if quiet else logging.INFO
            path = cut(quote(scope["path"]), MAX_PATH)
            logger.log(level, "%s %s", scope["method"], path, extra={"facts": facts})


@contextmanager
def suppressed_errors(said: str) -> Iterator[None]:
    """Log errors of reporting, which must not end the request that is reported."""
    try:
        yield
    except Exception:
        logger.exception(said)


def facts_of(scope: Scope) -> dict[str, Any]:
    """Facts about a request that is over."""
    state = scope["state"]
    facts = {name: state[name] for name in ("client", "trace_id") if name in state}
    completion = state.get("completion")
    return facts if completion is None else facts | completion.facts()


def own_facts(record: logging.LogRecord) -> dict[str, Any]:
    ours = request_id.get()
    facts: dict[str, Any] = getattr(record, "facts", {})
    return facts if ours is None else {"request_id": ours} | facts


class TextFormatter(logging.Formatter):
    """BentoML's format with facts as NAME=VALUE at the end; values other than plain words are JSON."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s [%(levelname)s] %(component)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.__dict__.setdefault("component", "[]")
        facts = [f"{name}={_plain(value)}" for name, value in own_facts(record).items()]
        return " ".join([super().formatMessage(record), *facts])


def _plain(value: Any) -> str:
    if isinstance(value, str) and value and all(c.isalnum() or c in "-_.:/@+" for c in value):
        return value
    return json.dumps(value, separators=(",", ":"))


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the facts among its fields."""

    def __init__(self) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%S%z")

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, self.datefmt),
            "level": record.levelname.lower(),
            "logger": record.name,
            "component": getattr(record, "component", "").strip("[]"),
            "message": record.getMessage(),
            **own_facts(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def formatter(log_format: LogFormat) -> logging.Formatter:
    return JsonFormatter() if log_format == "json" else TextFormatter()


def configure_logs(parent: logging.Logger, level: str, log_format: LogFormat) -> None:
    """Send the packages' logs through the handlers of `parent`; by default Python shows only warnings, without time."""
    parent.setLevel(level.upper())
    for handler in parent.handlers:  # shared with uvicorn and others
        handler.setFormatter(formatter(log_format))
    for package in PACKAGES:
        logging.getLogger(package).parent = parent
