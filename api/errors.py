"""Every error in OpenAI's envelope: {"error": {"message", "type", "param", "code"}}."""

from typing import Any

from fastapi.responses import JSONResponse

from engine.errors import EngineError, EngineUnavailable, InvalidRequest, QueueFull


class ApiError(Exception):
    """An answer that is an error. `headers` go out with it."""

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
        # What a request holds may come back in the message; half a surrogate pair cannot be sent.
        self.error = {name: text and text.encode(errors="replace").decode() for name, text in error.items()}
        self.headers = headers

    @property
    def body(self) -> dict[str, Any]:
        return {"error": self.error}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, self.headers)


def unexpected() -> ApiError:
    return ApiError(500, "an unexpected error; the server's log has it", type_="server_error")


def invalid(message: str, param: str | None) -> ApiError:
    return ApiError(400, message, param=param)


def translated(error: EngineError) -> ApiError:
    """The engine's errors, translated here and nowhere else."""
    message = str(error)
    if isinstance(error, InvalidRequest):
        return invalid(message, error.param)
    if isinstance(error, QueueFull):
        headers = {"Retry-After": str(error.retry_after)}
        return ApiError(429, message, type_="rate_limit_error", code="queue_full", headers=headers)
    if isinstance(error, EngineUnavailable):
        return ApiError(503, message, type_="server_error", code="engine_unavailable")
    return ApiError(500, message, type_="server_error", code="generation_failed")
