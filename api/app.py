"""The routes and the error handlers. Knows neither BentoML nor tensors."""

import logging
import time
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api.chat import answer, check_model
from api.errors import ApiError, invalid
from api.image_loading import Limits
from api.schema import ChatCompletion, ChatRequest, Health, ModelCard, ModelList, Status
from engine.engine import Engine

logger = logging.getLogger(__name__)

# Any other state of the engine is unhealthy.
STATUS: dict[str, Status] = {"ready": "healthy", "loading": "loading", "draining": "draining"}


@dataclass(frozen=True)
class Serving:
    """What the routes serve: set as `app.state.serving` before the first request."""

    engine: Engine
    model: str  # the name that clients see
    limits: Limits
    started: int = field(default_factory=lambda: int(time.time()))  # Unix seconds


def create_app() -> FastAPI:
    app = FastAPI(title="PaddleOCR-VL", docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_unexpected_error)

    def serving() -> Serving:
        found: Serving = app.state.serving
        return found

    @app.get("/health", responses={503: {"model": Health}})
    def health() -> JSONResponse:
        """200 once the model has answered a warm-up request; 503 while loading, draining, or after it died."""
        engine, model = serving().engine, serving().model
        body = Health(
            status=STATUS.get(engine.state, "unhealthy"),
            model_loaded=engine.state in ("ready", "draining"),
            model=model,
            device=engine.device,
            dtype=engine.dtype,
            memory_used_mb=engine.memory_used_mb(),
        )
        return JSONResponse(body.model_dump(), 200 if engine.state == "ready" else 503)

    @app.get("/v1/models")
    def list_models() -> ModelList:
        return ModelList(data=[_card(serving())])

    @app.get("/v1/models/{name:path}")
    def get_model(name: str) -> ModelCard:
        check_model(name, serving().model)
        return _card(serving())

    @app.post("/v1/chat/completions", response_model=ChatCompletion)
    async def chat_completions(body: ChatRequest, request: Request) -> ChatCompletion | Response:
        return await answer(body, request, serving().engine, serving().model, serving().limits)

    # BentoML would answer paths that nobody knows in plain text.
    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    def unknown(request: Request) -> Response:
        known = any(route.matches(request.scope)[0] is Match.PARTIAL for route in app.routes)
        raise HTTPException(405 if known else 404)

    return app


def _card(serving: Serving) -> ModelCard:
    return ModelCard(id=serving.model, created=serving.started, max_model_len=serving.engine.config.max_model_len)


async def _on_api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _on_validation_error(_: Request, error: Exception) -> Response:
    """The first fault, in one sentence, with the field as `param`."""
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    param = _field(fault["loc"])
    if fault["type"] == "json_invalid":
        detail = fault.get("ctx", {}).get("error", "")
        return invalid(f"the body is not JSON: {detail} (at character {fault['loc'][-1]})", None).response()
    if param is None:
        return invalid("the body must be a JSON object, sent as Content-Type: application/json", None).response()
    if fault["type"] == "extra_forbidden":
        return invalid(f"{param} is not supported; leave it out", param).response()
    if fault["type"] == "missing":
        return invalid(f"{param} is missing", param).response()
    said = fault["msg"].removeprefix("Value error, ")
    return invalid(f"{param}: {said}, got {fault['input']!r:.80}", param).response()


def _field(loc: tuple[Any, ...]) -> str | None:
    """`messages.0.content.1.image_url` of pydantic's place, which also names the kind of each content part."""
    names = [
        str(name)
        for i, name in enumerate(loc)
        if i > 0 and not (i > 2 and loc[i - 2] == "content" and isinstance(loc[i - 1], int))
    ]
    return ".".join(names) or None


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        message = f"There is no {request.url.path}. POST /v1/chat/completions, GET /v1/models and GET /health are here."
        return ApiError(404, message, code="not_found").response()
    if error.status_code == 405:
        return ApiError(405, f"{request.url.path} does not take {request.method}").response()
    return ApiError(error.status_code, str(error.detail)).response()


async def _on_unexpected_error(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return ApiError(500, "an unexpected error; the server's log has it", type_="server_error").response()
