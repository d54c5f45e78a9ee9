"""The routes and the error handlers. Knows neither BentoML nor tensors."""

import asyncio
import logging
import re
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakSet

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from api import __version__
from api.chat import answer, load_turns, pages
from api.errors import ApiError, invalid, translated, unexpected
from api.gate import Gate
from api.metrics import Counted
from api.schema import (
    ChatCompletion,
    ChatRequest,
    DetokenizeRequest,
    DetokenizeResponse,
    ErrorResponse,
    Health,
    ModelCard,
    ModelList,
    Status,
    TokenizeRequest,
    TokenizeResponse,
    Version,
)
from api.serving import Serving
from engine.errors import EngineError
from modes.choose import choose

logger = logging.getLogger(__name__)

# Any other state of the engine is unhealthy.
STATUS: dict[str, Status] = {"ready": "healthy", "loading": "loading", "draining": "draining", "stopped": "draining"}
FIELD = re.compile("[a-z_0-9]+")
HERE = "POST /v1/chat/completions, GET /v1/models and GET /health are here; /v1/openapi.json has all."


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document."""
    return {status: {"model": ErrorResponse} for status in statuses}


class UnderWay:
    """Around every request: notes the task that answers it, so that a shutdown can wait for it."""

    def __init__(self, app: ASGIApp, tasks: WeakSet[asyncio.Task[Any]]) -> None:
        self.app = app
        self.tasks = tasks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        await self.app(scope, receive, send)


def create_app(max_request_bytes: int) -> FastAPI:
    """`state.serving` is what it serves, to be set before the first request; `state.requests` the tasks that answer."""
    app = FastAPI(
        title="PaddleOCR-VL", version=__version__, docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json"
    )
    app.state.requests = WeakSet()
    app.add_middleware(Gate, max_bytes=max_request_bytes)
    app.add_middleware(UnderWay, tasks=app.state.requests)
    app.add_middleware(Counted)
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_unexpected_error)

    def serving() -> Serving:
        found: Serving = app.state.serving
        return found

    @app.get("/health", response_model=Health, responses={503: {"model": Health}})
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

    @app.get("/ping", response_class=Response, responses={503: {}})
    @app.post("/ping", response_class=Response, responses={503: {}})
    def ping() -> Response:
        """Health without a body to read, as SageMaker asks for it."""
        return Response(status_code=health().status_code)

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(serving().metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/version")
    def version() -> Version:
        return Version(version=__version__)

    @app.get("/v1/models")
    def list_models() -> ModelList:
        return ModelList(data=[_card(serving(), name) for name in serving().names])

    @app.get("/v1/models/{name:path}", responses=errors(404))
    def get_model(name: str) -> ModelCard:
        serving().check_model(name)
        return _card(serving(), serving().model)

    streamed: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}

    @app.post(
        "/v1/chat/completions",
        response_model=ChatCompletion,
        responses=streamed | errors(400, 404, 413, 429, 500, 503),
    )
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        return await answer(body, request, serving())

    @app.post("/v1/completions", include_in_schema=False)
    def completions() -> None:
        raise ApiError(404, "This model reads pictures: send them to POST /v1/chat/completions.", code="not_found")

    @app.post("/tokenize", responses=errors(400, 404, 413, 503))
    async def tokenize(body: TokenizeRequest) -> TokenizeResponse:
        serving().check_model(body.model)
        if (body.prompt is None) == (body.messages is None):
            raise invalid("give either prompt or messages", "prompt")
        engine = serving().engine
        try:
            if body.prompt is not None:
                tokens = engine.encode(body.prompt)
            else:
                task = choose(await load_turns(body.messages or [], serving().limits))
                asked = pages(task, body.mm_processor_kwargs, engine)
                tokens = [token for page in asked for token in await page.tokens(engine)]
            strings = [engine.token_bytes(token).decode(errors="replace") for token in tokens]
        except EngineError as error:
            raise translated(error) from error
        return TokenizeResponse(
            count=len(tokens),
            max_model_len=engine.config.max_model_len,
            tokens=tokens,
            token_strs=strings if body.return_token_strs else None,
        )

    @app.post("/detokenize", responses=errors(400, 404, 413, 503))
    def detokenize(body: DetokenizeRequest) -> DetokenizeResponse:
        serving().check_model(body.model)
        try:
            return DetokenizeResponse(prompt=serving().engine.decode(body.tokens))
        except EngineError as error:
            raise translated(error) from error

    # BentoML would answer paths that nobody knows in plain text.
    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    def unknown(request: Request) -> Response:
        known = any(route.matches(request.scope)[0] is Match.PARTIAL for route in app.routes)
        raise HTTPException(405 if known else 404)

    app.openapi = partial(_document, app.openapi)  # type: ignore[method-assign]
    return app


def _document(generate: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """FastAPI's OpenAPI document without its own answer to bad requests, 422, which is 400 here."""
    document = generate()
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    return document


def _card(serving: Serving, name: str) -> ModelCard:
    return ModelCard(
        id=name, created=serving.started, root=serving.model, max_model_len=serving.engine.config.max_model_len
    )


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
    if param is None and fault["type"] in ("missing", "model_attributes_type"):
        return invalid("the body must be a JSON object, sent as Content-Type: application/json", None).response()
    if fault["type"] == "missing":
        return invalid(f"{param} is missing", param).response()
    said = fault["msg"].removeprefix("Value error, ")
    return invalid(f"{param}: {said}, got {fault['input']!r:.80}", param).response()


def _field(loc: tuple[Any, ...]) -> str | None:
    """`messages.0.content.1.image_url` of pydantic's place, which also names the alternatives of each union."""
    names = [
        str(name)
        for i, name in enumerate(loc)
        if i > 0 and FIELD.fullmatch(str(name)) and not (i > 1 and _is_tagged(loc[i - 2], loc[i - 1]))
    ]
    return ".".join(names) or None


def _is_tagged(before: Any, name: Any) -> bool:
    """The value here is of a union that its `type` tells apart."""
    return name == "response_format" or (before == "content" and isinstance(name, int))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        message = f"There is no {request.url.path}. {HERE}"
        return ApiError(404, message, code="not_found").response()
    if error.status_code == 405:
        return ApiError(405, f"{request.url.path} does not take {request.method}").response()
    return ApiError(error.status_code, str(error.detail)).response()


async def _on_unexpected_error(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return unexpected().response()
