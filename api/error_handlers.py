"""Error handlers: every failure of a request becomes an ApiError's response, whatever raised it."""

import logging
import re
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.errors import DECODER_ENDED, ApiError, invalid, translated, unexpected
from images.errors import ImageError

logger = logging.getLogger(__name__)

FIELD = re.compile("[a-z_0-9][A-Za-z_0-9]*")
HERE = "POST /v1/chat/completions, GET /v1/models and GET /health are here; /v1/openapi.json has all."


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(ImageError, _on_image_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_unexpected_error)


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    name_rejection(request, error)
    return error.response()


def name_rejection(request: Request, error: ApiError) -> None:
    """Tell the metrics why a request was refused, where its status does not."""
    if error.error["code"] == DECODER_ENDED:
        request.state.rejection = DECODER_ENDED


async def _on_image_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ImageError)
    return await _on_api_error(request, translated(error))


async def _on_validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return refusal(error).response()


def refusal(error: RequestValidationError) -> ApiError:
    """The first fault, in one sentence, with the field as `param`."""
    fault = error.errors()[0]
    param = _field(fault["loc"])
    if fault["type"] == "json_invalid":
        detail = fault.get("ctx", {}).get("error", "")
        return invalid(f"the body is not JSON: {detail} (at character {fault['loc'][-1]})", None)
    if param is None and fault["type"] in ("missing", "model_attributes_type"):
        return invalid("the body must be a JSON object, sent as Content-Type: application/json", None)
    if fault["type"] == "missing":
        return invalid(f"{param} is missing", param)
    said = fault["msg"].removeprefix("Value error, ")
    return invalid(f"{param}: {said}, got {fault['input']!r:.80}", param)


def _field(loc: tuple[Any, ...]) -> str | None:
    """`messages.0.content.1.image_url` from pydantic's location, which also names the alternatives of each union."""
    names = [
        str(name)
        for i, name in enumerate(loc)
        if i > 0 and FIELD.fullmatch(str(name)) and not (i > 1 and _is_tagged(loc[i - 2], loc[i - 1]))
    ]
    return ".".join(names) or None


def _is_tagged(before: Any, name: Any) -> bool:
    """Whether the location's next part names an alternative of a union that is discriminated by `type`."""
    return name in ("response_format", "document") or (before == "content" and isinstance(name, int))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return http_error(request, error).response()


def http_error(request: Request, error: HTTPException) -> ApiError:
    """An error of Starlette's or FastAPI's, or of a body that does not come as it should."""
    if error.status_code == 404:
        return ApiError(404, f"There is no {request.url.path}. {HERE}", code="not_found")
    if error.status_code == 405:
        headers = dict(error.headers or {})
        return ApiError(405, f"{request.url.path} does not take {request.method}", headers=headers)
    if error.status_code == 400 and isinstance(error.__cause__, ValueError | RecursionError):  # FastAPI's
        return invalid(f"the body is not JSON that can be read: {_fault(error.__cause__)}", None)
    return ApiError(error.status_code, str(error.detail))


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
