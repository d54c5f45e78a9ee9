"""The errors between a request and its answer.

EngineError
├── InvalidRequest        the request is at fault; a retry changes nothing
├── QueueFull             too many requests are waiting; `retry_after` says when to retry
├── DeadlineExceeded      the answer was not complete in the time that the request has
├── EngineUnavailable     loading, draining, failed to load, or its thread died
└── GenerationFailed      this one request failed; others go on
    └── UnexpectedFailure     ... by an error without a handler: the model itself may be broken
"""


class EngineError(Exception):
    """Base of all errors that the engine raises or puts into an event."""


class InvalidRequest(EngineError):  # noqa: N818 - reads as what it is
    """The request cannot be served as it is; `param` is the field at fault."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


class QueueFull(EngineError):  # noqa: N818
    """Too many requests are waiting."""

    def __init__(self, reason: str, retry_after: int) -> None:
        super().__init__(f"{reason}; try again in {retry_after} s")
        self.retry_after = retry_after  # seconds


class DeadlineExceeded(EngineError):  # noqa: N818
    """The answer was not complete in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"there was no answer within the {seconds:g} s that the request has")


class EngineUnavailable(EngineError):  # noqa: N818
    """The engine accepts no requests at present, or for good."""


class GenerationFailed(EngineError):  # noqa: N818
    """One request failed; others go on."""


class UnexpectedFailure(GenerationFailed):
    """One request failed by an error without a handler, so the model itself may be broken."""

    def __init__(self) -> None:
        super().__init__("an unexpected error; the server's log has it")
