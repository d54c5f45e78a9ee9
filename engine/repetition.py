"""Finds an answer that is in a loop: it repeats the same run of tokens, of any length up to a bound."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RepetitionLimits:
    """When an answer counts as a loop; names as vLLM's `repetition_detection` has them."""

    max_pattern_size: int = 64  # tokens
    min_pattern_size: int = 1  # tokens
    min_count: int = 50  # copies in a row; PaddleOCR's own pipeline cuts at the same number


class RepetitionDetector:
    """Detects a loop in the tokens of one answer, pushed one at a time; a few microseconds each.

    For every pattern size p, it counts how many of the newest tokens equal the one p tokens before. A pattern that
    occurs n times in a row makes that count p * (n - 1).
    """

    def __init__(self, limits: RepetitionLimits) -> None:
        self._sizes = np.arange(1, limits.max_pattern_size + 1)
        self._enough = self._sizes * (limits.min_count - 1)
        self._enough[: limits.min_pattern_size - 1] = np.iinfo(np.int64).max
        self._recent = np.full(limits.max_pattern_size, -1)  # the newest token first
        self._runs = np.zeros(limits.max_pattern_size, dtype=np.int64)
        self._count = 0

    def push(self, token: int) -> int | None:
        """Add the next token; once the answer is in a loop, the number of tokens before its repeats."""
        self._count += 1
        self._runs = np.where(self._recent == token, self._runs + 1, 0)
        self._recent[1:] = self._recent[:-1].copy()
        self._recent[0] = token
        found = np.flatnonzero(self._runs >= self._enough)
        return self._count - int(self._runs[found[0]]) if len(found) else None
