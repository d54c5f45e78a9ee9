"""The routes and the error handlers. Knows neither BentoML nor tensors."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from weakref import WeakSet

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from api import __version__
from api.auth import RATE_HEADERS, Guard, Keys
from api.chat import IGNORED, answer, prompt_tokens
from api.errors import DECODER_ENDED, ApiError, invalid, translated, unexpected
from api.gate import Gate
from api.logs import Logged
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
    Queue,
    Status,
    TokenizeRequest,
    TokenizeResponse,
    Version,
)
from api.serving import Serving
from api.tracing import Exporter, Traced, collecting
from engine.engine import Engine
from engine.errors import EngineError
from images.errors import ImageError

logger = logging.getLogger(__name__)

HEALTH_FOR_ALL = {"status", "model_loaded", "device", "memory_used_mb"}
# Any other state of the engine is unhealthy.
STATUS: dict[str, Status] = {"ready": "healthy", "loading": "loading", "draining": "draining", "stopped": "draining"}
FIELD = re.compile("[a-z_0-9]+")
HEADERS = ["x-request-id", IGNORED, "Retry-After", *RATE_HEADERS]
"""Of answers, that scripts of other origins may read."""
HERE = "POST /v1/chat/completions, GET /v1/models and GET /health are here; /v1/openapi.json has all."


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document."""
    return {status: {"model": ErrorResponse} for status in statuses}


class UnderWay:
    """Around every request: notes when it came, and the task that answers it, so that a shutdown can wait for it."""

    def __init__(self, app: ASGIApp, tasks: WeakSet[asyncio.Task[Any]]) -> None:
        self.app = app
        self.tasks = tasks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        scope.setdefault("state", {})["arrived"] = time.monotonic()
        await self.app(scope, receive, send)


def create_app(
    max_request_bytes: int,
    *,
    body_seconds: float = 30.0,
    keys: Keys | None = None,
    metrics_open: bool = False,
    rate_limit: int | None = None,
    cors_origins: Sequence[str] = (),
    exporter: Exporter | None = None,
) -> FastAPI:
    """`state.serving` is what it serves, to be set before the first request; `state.requests` the tasks that answer.

    Without `keys` everybody may ask. `rate_limit`: requests a minute of one client. `cors_origins`: of the pages whose
    scripts may. `exporter`: of spans. `body_seconds`: as `gate.Gate` has it.
    """
    app = FastAPI(
        title="PaddleOCR-VL",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        lifespan=None if exporter is None else partial(collecting, exporter),
        telemetry={"tracing": False, "metrics": False, "logs": False},  # api/tracing.py knows what may be told
    )
    app.state.requests = WeakSet()
    app.add_middleware(Gate, max_bytes=max_request_bytes, body_seconds=body_seconds)  # the innermost
    app.add_middleware(Guard, keys=keys, metrics_open=metrics_open, rate_limit=rate_limit)
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=HEADERS,
        )
    if exporter is not None:
        app.add_middleware(Traced)
    app.add_middleware(Logged)
    app.add_middleware(UnderWay, tasks=app.state.requests)
    app.add_middleware(Counted)
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(ImageError, _on_image_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_unexpected_error)

    def serving() -> Serving:
        found: Serving = app.state.serving
        return found

    @app.get("/health", response_model=Health, responses={503: {"model": Health}})
    def health(request: Request) -> JSONResponse:
        """200 once the model has answered a warm-up request; 503 with a reason while loading, draining, stuck, dead.

        Without the key, where one is needed, it tells only what clients need to find the server well.
        """
        engine, model = serving().engine, serving().model
        trouble, stats = engine.trouble, engine.stats()
        body = Health(
            status="unhealthy" if engine.state == "ready" and trouble else STATUS.get(engine.state, "unhealthy"),
            reason=trouble,
            model_loaded=engine.state in ("ready", "draining"),
            model=model,
            device=engine.device,
            dtype=engine.dtype,
            memory_used_mb=engine.memory_used_mb(),
            memory_planned_mb=engine.memory_planned_mb(),
            revision=serving().revision,
            version=__version__,
            uptime_seconds=int(time.monotonic() - serving().began),
            queue=Queue(
                running=stats.running,
                waiting=stats.waiting,
                slots=engine.slots,
                free_slots=stats.free_slots,
            ),
        )
        shown = None if request.state.known else HEALTH_FOR_ALL
        return JSONResponse(body.model_dump(include=shown), 503 if trouble else 200)

    @app.get("/ping", response_class=Response, responses={503: {}})
    @app.post("/ping", response_class=Response, responses={503: {}})
    def ping(request: Request) -> Response:
        """Health without a body to read, as SageMaker asks for it."""
        return Response(status_code=health(request).status_code)

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
        responses=streamed | errors(400, 404, 408, 413, 429, 500, 503, 504),
    )
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        return await answer(body, request, serving())

    @app.post("/v1/completions", include_in_schema=False)
    def completions() -> None:
        raise ApiError(404, "This model reads images: send them to POST /v1/chat/completions.", code="not_found")

    @app.post("/tokenize", responses=errors(400, 404, 408, 413, 429, 503))
    async def tokenize(body: TokenizeRequest, request: Request) -> TokenizeResponse:
        serving().check_model(body.model)
        if (body.prompt is None) == (body.messages is None):
            raise invalid("give either prompt or messages", "prompt")
        engine = serving().engine
        try:
            if body.prompt is not None:
                tokens = await asyncio.to_thread(engine.encode_text, body.prompt)
            else:
                tokens = await prompt_tokens(body, request, serving())
            strings = await asyncio.to_thread(_strings, engine, tokens) if body.return_token_strs else None
        except EngineError as error:
            raise translated(error) from error
        return TokenizeResponse(
            count=len(tokens),
            max_model_len=engine.config.max_model_len,
            tokens=tokens,
            token_strs=strings,
        )

    @app.post("/detokenize", responses=errors(400, 404, 408, 413, 503))
    def detokenize(body: DetokenizeRequest) -> DetokenizeResponse:
        serving().check_model(body.model)
        try:
            return DetokenizeResponse(prompt=serving().engine.decode_tokens(body.tokens))
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


def _strings(engine: Engine, tokens: list[int]) -> list[str]:
    return [engine.token_bytes(token).decode(errors="replace") for token in tokens]


def _card(serving: Serving, name: str) -> ModelCard:
    return ModelCard(
        id=name, created=serving.started, root=serving.model, max_model_len=serving.engine.config.max_model_len
    )


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    if error.error["code"] == DECODER_ENDED:
        request.state.rejection = DECODER_ENDED
    return error.response()


async def _on_image_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ImageError)
    return await _on_api_error(request, translated(error))


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
    if error.status_code == 400 and isinstance(error.__cause__, ValueError | RecursionError):  # FastAPI's, of a body
        return invalid(f"the body is not JSON that can be read: {_fault(error.__cause__)}", None).response()
    return ApiError(error.status_code, str(error.detail)).response()


def _fault(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not text in UTF-8 (at byte {error.start})"
    return "a number in it has too many digits"


async def _on_unexpected_error(request: Request, error: Exception) -> Response:
    logger.error("%s %r failed", request.method, request.url.path, exc_info=error)
    answer = unexpected().response()
    answer.headers["x-request-id"] = request.state.request_id  # this goes out around the middleware
    return answer
