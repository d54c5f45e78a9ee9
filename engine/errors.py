"""What can go wrong between a request and its answer.

EngineError
├── InvalidRequest        the request itself; trying again changes nothing
├── QueueFull             too many are waiting; `retry_after` says when to come back
├── EngineUnavailable     loading, draining, failed to load, or its thread died
└── GenerationFailed      this one request failed; others go on
"""


class EngineError(Exception):
    """Base of everything that the engine raises or puts into an event."""


class InvalidRequest(EngineError):  # noqa: N818 - reads as what it is
    """The request cannot be served as it is; `param` names the field at fault."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


class QueueFull(EngineError):  # noqa: N818
    def __init__(self, waiting: int, retry_after: int) -> None:
        super().__init__(f"{waiting} requests are waiting already; try again in {retry_after} s")
        self.retry_after = retry_after  # seconds


class EngineUnavailable(EngineError):  # noqa: N818
    pass


class GenerationFailed(EngineError):  # noqa: N818
    pass
