"""How long prompts may be read before running streams get their next token."""

from collections import deque

READ_STEPS = 2.1  # decode steps of reading at a time: with one of eight rows, a gap stays below four of a single row
IDLE_SECONDS = 0.1  # of reading where nothing runs, before newcomers and those who leave are heard
REMEMBERED = 64  # decode steps


class Pace:
    def __init__(self) -> None:
        self._decoded: deque[float] = deque(maxlen=REMEMBERED)

    def decoded(self, seconds: float) -> None:
        """A decode step took so long."""
        self._decoded.append(seconds)

    def reading_seconds(self, *, running: bool) -> float:
        """For reading before the next decode step; by the fastest one lately, which others disturbed least."""
        if not running or not self._decoded:
            return IDLE_SECONDS
        return READ_STEPS * min(self._decoded)
