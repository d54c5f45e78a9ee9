"""Every error in OpenAI's envelope: {"error": {"message", "type", "param", "code"}}."""

from typing import Any

from fastapi.responses import JSONResponse

from api.schema.responses import ErrorResponse
from engine.errors import DeadlineExceeded, EngineError, EngineUnavailable, InvalidRequest, QueueFull
from images.errors import DecoderEnded, DecoderUnavailable, ImageError, InvalidImage

MAX_SHOWN = 1000  # characters of a message: it may quote the request, at any length
DECODER_ENDED = "decoder_ended"  # an error code: a file hung or crashed its decoder
RATE_LIMITED = "rate_limited"  # a reason for refusing with 429, beside a full queue
RETRY_SECONDS = 5  # for a server that starts or ends; another one behind the balancer may be ready at once


class ApiError(Exception):
    """An error that is sent to the client, with `headers`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type_: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        error = {"message": message, "type": type_, "param": param, "code": code}
        self.error = {name: text and _shown(text) for name, text in error.items()}
        self.headers = headers

    @property
    def body(self) -> dict[str, Any]:
        return {"error": self.error}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, self.headers)


def _shown(text: str) -> str:
    """The text cut to a length that helps, without half surrogate pairs, which cannot be sent."""
    text = text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN // 2]} ... {text[-MAX_SHOWN // 2 :]}"
    return text.encode(errors="replace").decode()


def unexpected() -> ApiError:
    return ApiError(500, "an unexpected error; the server's log has it", type_="server_error")


def invalid(message: str, param: str | None) -> ApiError:
    return ApiError(400, message, param=param)


def translated(error: EngineError | ImageError) -> ApiError:
    """The API's error for one of engine/ or images/; translated here and nowhere else."""
    message = str(error)
    if isinstance(error, InvalidImage):
        code = DECODER_ENDED if isinstance(error, DecoderEnded) else None
        return ApiError(400, message, param=error.param, code=code)
    if isinstance(error, DecoderUnavailable):
        return ApiError(503, message, type_="server_error", code="decoder_unavailable")
    if isinstance(error, InvalidRequest):
        return invalid(message, error.param)
    if isinstance(error, QueueFull):
        headers = {"Retry-After": str(error.retry_after)}
        return ApiError(429, message, type_="rate_limit_error", code="queue_full", headers=headers)
    if isinstance(error, DeadlineExceeded):
        headers = {"x-should-retry": "false"}  # else OpenAI's clients would try twice more, each time for as long
        return ApiError(504, message, type_="timeout_error", code="deadline_exceeded", headers=headers)
    if isinstance(error, EngineUnavailable):
        headers = {"Retry-After": str(RETRY_SECONDS)}
        return ApiError(503, message, type_="server_error", code="engine_unavailable", headers=headers)
    return ApiError(500, message, type_="server_error", code="generation_failed")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error responses of a route, for the OpenAPI document."""
    return {status: {"model": ErrorResponse} for status in statuses}
