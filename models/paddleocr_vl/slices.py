"""Long work in slices: generators that pause after each slice and return the result."""

from models.protocol import Result, Sliced


def run(work: Sliced[Result]) -> Result:
    """The result of all slices, run at once."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result


def parts(length: int, max_length: int | None) -> list[slice]:
    """[0, length) in even parts of at most `max_length` (None: in one part)."""
    count = 1 if max_length is None else max(1, -(-length // max_length))
    return [slice(i * length // count, (i + 1) * length // count) for i in range(count)]
