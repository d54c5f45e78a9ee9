"""What can go wrong between a request and its answer.

EngineError
├── InvalidRequest        the request itself; trying again changes nothing
├── QueueFull             too many are waiting; `retry_after` says when to come back
├── DeadlineExceeded      there was no answer in the time that the request has
├── EngineUnavailable     loading, draining, failed to load, or its thread died
└── GenerationFailed      this one request failed; others go on
    └── UnexpectedFailure     ... by an error that nobody planned for: is the model still sound?
"""


class EngineError(Exception):
    """Base of everything that the engine raises or puts into an event."""


class InvalidRequest(EngineError):  # noqa: N818 - reads as what it is
    """The request cannot be served as it is; `param` names the field at fault."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


class QueueFull(EngineError):  # noqa: N818
    def __init__(self, said: str, retry_after: int) -> None:
        super().__init__(f"{said}; try again in {retry_after} s")
        self.retry_after = retry_after  # seconds


class DeadlineExceeded(EngineError):  # noqa: N818
    def __init__(self, seconds: float) -> None:
        super().__init__(f"there was no answer within the {seconds:g} s that the request has")


class EngineUnavailable(EngineError):  # noqa: N818
    pass


class GenerationFailed(EngineError):  # noqa: N818
    pass


class UnexpectedFailure(GenerationFailed):
    def __init__(self) -> None:
        super().__init__("an unexpected error; the server's log has it")
