"""Long work in slices: generators that pause after each, so that others get their turn, and end with the result."""

from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")
Sliced = Generator[None, None, Result]


def run(work: Sliced[Result]) -> Result:
    """All of it at once."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result


def parts(length: int, most: int | None) -> list[slice]:
    """[0, length) in even parts of at most `most` (None: in one part)."""
    count = 1 if most is None else max(1, -(-length // most))
    return [slice(i * length // count, (i + 1) * length // count) for i in range(count)]
