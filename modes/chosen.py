"""The model's answer to the questions of a form, as far as it has come."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

_DECODER = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal)


def places_in(answer: str, paths: Sequence[str]) -> Mapping[str, tuple[int, int]]:
    """The places of the choices in an answer, which has the paths in their order; without those that are not whole."""
    found: dict[str, tuple[int, int]] = {}
    start = 1
    for path in paths:
        start += len(json.dumps(path)) + 1
        try:
            _, end = _DECODER.raw_decode(answer, start)
        except (json.JSONDecodeError, IndexError):
            break
        if answer[end : end + 1] not in (",", "}"):  # a number may go on
            break
        found[path] = start, end
        start = end + 1
    return found


def chosen_in(answer: str, paths: Sequence[str]) -> dict[str, Any]:
    """The whole choices of an answer by their paths."""
    return {path: _DECODER.decode(answer[slice(*place)]) for path, place in places_in(answer, paths).items()}
