"""The app: middleware, routes and error handlers, put together. Knows neither BentoML nor tensors."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from weakref import WeakSet

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match

from api import __version__, chat, health, layout_parsing, models, ocr, tokenization
from api.auth import RATE_HEADERS, Authentication
from api.error_handlers import add_error_handlers
from api.gate import BODY_SECONDS, BodyLimits
from api.keys import Keys
from api.logs import RequestLog
from api.metrics import RequestMetrics
from api.middleware import RequestTasks
from api.page import add_page
from api.paths import PlainPaths
from api.tracing import Exporter, RequestTrace, collecting
from api.unknown_fields import IGNORED

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
ANY_PATH = "/{path:path}"
EXPOSED_HEADERS = ["x-request-id", IGNORED, "Retry-After", *RATE_HEADERS]
"""Response headers that scripts of other origins may read."""


def create_app(
    *,
    max_request_bytes: int,
    body_seconds: float = BODY_SECONDS,
    keys: Keys | None = None,
    metrics_open: bool = False,
    rate_limit: int | None = None,
    cors_origins: Sequence[str] = (),
    exporter: Exporter | None = None,
    page: bool = False,
) -> FastAPI:
    """`state.serving` is what it serves, to be set before the first request; `state.requests` the tasks that answer.

    Without `keys` every client may ask. `rate_limit`: requests a minute of one client. `cors_origins`: of pages whose
    scripts may ask. `exporter`: of spans. `body_seconds`: as `gate.BodyLimits` has it. `page`: the
    page for people is at `/`.
    """
    app = FastAPI(
        title="PaddleOCR-VL",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        lifespan=None if exporter is None else partial(collecting, exporter),
        telemetry={"tracing": False, "metrics": False, "logs": False},  # api/tracing.py decides what a span may hold
    )
    app.state.requests = WeakSet()
    app.add_middleware(BodyLimits, max_bytes=max_request_bytes, body_seconds=body_seconds)  # the innermost
    app.add_middleware(Authentication, keys=keys, metrics_open=metrics_open, rate_limit=rate_limit, page=page)
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
        )
    if exporter is not None:
        app.add_middleware(RequestTrace)
    app.add_middleware(RequestLog)
    app.add_middleware(RequestTasks, tasks=app.state.requests)
    app.add_middleware(RequestMetrics)
    app.add_middleware(PlainPaths)
    add_error_handlers(app)
    for routes in (health, models, chat, tokenization, layout_parsing, ocr):
        app.include_router(routes.router)
    if page:
        add_page(app)
    app.add_api_route(ANY_PATH, _unknown, methods=METHODS, include_in_schema=False)
    app.openapi = partial(_document, app.openapi)  # type: ignore[method-assign]
    return app


def _unknown(request: Request) -> Response:
    """Answer for paths without a route, which BentoML would answer in plain text."""
    allowed = [method for method in METHODS if _is_route(request, method)]
    raise HTTPException(405, headers={"Allow": ", ".join(allowed)}) if allowed else HTTPException(404)


def _is_route(request: Request, method: str) -> bool:
    routes = [route for route in request.app.routes if getattr(route, "path", None) != ANY_PATH]
    return any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)


def _document(generate: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """FastAPI's OpenAPI document without its own answer to invalid requests, which none of the routes gives."""
    document = generate()
    for path in document["paths"].values():
        for operation in path.values():
            refused = operation["responses"].get("422")
            if refused is not None and "HTTPValidationError" in str(refused):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    return document
