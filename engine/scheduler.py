"""What runs next: first come, first served, one prefill a step between decode steps of everything that runs.

The life of a request: waiting -> (a slot is free) prefill, its first token -> running, one token a step -> done.
One prefill a step keeps the gap in running streams to the length of one prompt.
"""

from collections import deque
from dataclasses import dataclass

from engine.request import Sequence
from engine.slots import NOTHING, Slots


@dataclass(frozen=True)
class Step:
    prefill: Sequence | None
    decode: list[Sequence]


class Scheduler:
    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def schedule(self) -> Step:
        """The next step. Its prefill has a slot and counts as running from the step after on."""
        decode = list(self.running)
        prefill = None
        if self.waiting and self.slots.can_allocate():
            prefill = self.waiting.popleft()
            prefill.slot, prefill.reused = self.slots.allocate(prefill.prompt.content_ids)
            self.running.append(prefill)
        return Step(prefill, decode)

    def remove(self, sequence: Sequence, *, failed: bool = False) -> None:
        """Forget a sequence, finished or aborted, and free its slot; after a failure nothing in that is trusted."""
        if sequence.slot is None:
            self.waiting.remove(sequence)
            return
        self.running.remove(sequence)
        self.slots.release(sequence.slot, NOTHING if failed else sequence.content)
        sequence.slot = None
