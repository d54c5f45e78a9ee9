"""How long prompts may be prefilled before running sequences get their next token."""

from collections import deque

PREFILL_STEPS = 2.1  # decode steps; with one step of eight rows, a gap stays below four steps of a single row
IDLE_SECONDS = 0.1  # prefill while nothing runs, before new requests and aborts are handled
MEASURED_STEPS = 64  # decode steps


class Pace:
    """The time limit of prefill in one step, from recent decode steps."""

    def __init__(self) -> None:
        self._decode_seconds: deque[float] = deque(maxlen=MEASURED_STEPS)

    def observe(self, seconds: float) -> None:
        """Add the time of a decode step."""
        self._decode_seconds.append(seconds)

    def prefill_seconds(self, *, running: bool) -> float:
        """Seconds of prefill before the next decode step, by the fastest recent one, which was disturbed least."""
        if not running or not self._decode_seconds:
            return IDLE_SECONDS
        return PREFILL_STEPS * min(self._decode_seconds)
