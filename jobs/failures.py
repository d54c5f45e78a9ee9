"""Why a job fails, in three kinds that say what may be done about it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["input", "passing", "ours"]
"""`input`: the document or a field; trying again changes nothing. `passing`: a host that was busy or gone; it is tried
again. `ours`: a setting or a fault of this service, for its operator."""


@dataclass(eq=False)
class Failure(Exception):  # noqa: N818 - what it is called everywhere
    """A failure of a job, of a step or of a page."""

    kind: Kind
    code: str  # one word for programs, such as invalid_document
    message: str  # for people; names what was wrong
    page: int | None = None  # from 1, if it is one page's

    def __str__(self) -> str:
        return self.message

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Unavailable(Exception):  # noqa: N818 - a state, not a fault
    """A host that is busy or cannot be reached. Waiting for it is no attempt."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds, if it says so


def of_input(code: str, message: str, page: int | None = None) -> Failure:
    return Failure("input", code, message, page)


def passing(code: str, message: str, page: int | None = None) -> Failure:
    return Failure("passing", code, message, page)


def ours(code: str, message: str, page: int | None = None) -> Failure:
    return Failure("ours", code, message, page)
