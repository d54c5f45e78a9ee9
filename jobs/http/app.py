"""The OCR API: middleware, routes and error handlers, put together. Knows neither DBOS nor SQL."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import __version__
from api.auth import Authentication
from api.error_handlers import add_error_handlers, http_error
from api.errors import ApiError, invalid
from api.gate import BODY_SECONDS, BodyLimits
from api.keys import Keys
from api.logs import RequestLog
from api.middleware import HttpMiddleware
from api.page import add_page
from api.tracing import RequestTrace
from jobs.http import following, health, paddleocr, results, simple_ocr, submitting
from jobs.http.envelopes import Envelopes
from jobs.settings import MEBIBYTE, JobSettings
from jobs.texts import NUL

HERE = "POST /v1/jobs, GET /v1/jobs and GET /health are here; /v1/openapi.json has all."
PAGE = "jobs.html"
METHODS = ("GET", "POST", "DELETE")

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(settings: JobSettings, keys: Keys | None, lifespan: Lifespan | None = None) -> FastAPI:
    """`state.serving` is what it serves, to be set before the first request."""
    limits: dict[str, Any] = {"body_seconds": BODY_SECONDS, "max_parts": float("inf")}  # files have parts by chance
    app = FastAPI(
        title="OCR API",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        middleware=[
            Middleware(_RequestMetrics),
            Middleware(RequestLog),
            *([Middleware(RequestTrace)] if settings.exporter else []),
            Middleware(Envelopes),
            Middleware(
                Authentication,
                keys=keys,
                metrics_open=settings.metrics_open,
                rate_limit=settings.rate_limit,
                open_prefixes=(paddleocr.RESULTS,),
                page=settings.ui,
            ),
            Middleware(_NoNul),
            Middleware(BodyLimits, max_bytes=settings.jobs_max_bytes + MEBIBYTE, **limits),
        ],
    )
    add_error_handlers(app)
    app.add_exception_handler(HTTPException, _on_http_error)
    for routes in (health, submitting, following, results, paddleocr, simple_ocr):
        app.include_router(routes.router)
    if settings.ui:
        add_page(app, PAGE)
    return app


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return ApiError(404, f"There is no {request.url.path}. {HERE}", code="not_found").response()
    return http_error(request, error).response()


class _NoNul(HttpMiddleware):
    """Middleware that refuses addresses with a NUL, which no id has and PostgreSQL cannot look for."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: ASGIApp = self.app
        if NUL in scope["path"] or b"%00" in scope["query_string"]:
            app = invalid("the address holds a NUL (%00)", None).response()
        await app(scope, receive, send)


class _RequestMetrics(HttpMiddleware):
    """Middleware that counts each request by the status of its answer."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                handler = getattr(scope.get("route"), "path", None) or "none"
                method = scope["method"] if scope["method"] in METHODS else "other"
                scope["app"].state.serving.metrics.answered(handler, method, message["status"])
            await send(message)

        app: ASGIApp = self.app
        await app(scope, receive, counted)
