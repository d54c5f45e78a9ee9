"""What runs next: clients take turns; a few prompts are read between decode steps of everything that runs.

The life of a request: waiting -> (a slot is free) reading, over as many steps as its prompt takes, to its first token
-> running, one token a step -> done.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import chain

from engine.fair_queue import FairQueue
from engine.request import Sequence
from engine.slots import NOTHING, Exchange, Slots


@dataclass(frozen=True)
class Step:
    reading: list[Sequence]  # prompts that are read together; the same ones until they have their first tokens
    decode: list[Sequence]
    exchanges: list[Exchange] = field(default_factory=list)  # of slots, before anything is read

    def __str__(self) -> str:
        work = ((self.reading, "reading", "prompt"), (self.decode, "decoding", "answer"))
        return " and ".join(f"{verb} {counted(group, noun)}" for group, verb, noun in work if group)


class Scheduler:
    def __init__(self, slots: Slots, max_prefill_tokens: int = 0) -> None:
        """`max_prefill_tokens` of prompts are read together; a longer prompt alone."""
        self.slots = slots
        self.max_prefill_tokens = max_prefill_tokens
        self.waiting: FairQueue[Sequence] = FairQueue()
        self.reading: list[Sequence] = []
        self.running: list[Sequence] = []

    def __contains__(self, sequence: Sequence) -> bool:
        return sequence in chain(self.waiting, self.reading, self.running)

    def __iter__(self) -> "chain[Sequence]":
        return chain(self.waiting, self.reading, self.running)

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.reading and not self.running

    def add(self, sequence: Sequence) -> None:
        self.waiting.add(sequence, sequence.job.client, follows=sequence.follows)

    def schedule(self) -> Step:
        """The next step. Whoever has a first token from the last one runs from now on."""
        self.running += [sequence for sequence in self.reading if sequence.tokens]
        self.reading = [sequence for sequence in self.reading if not sequence.tokens]
        if not self.reading:
            self._admit()
        exchanges, self.slots.exchanges = self.slots.exchanges, []
        return Step(list(self.reading), list(self.running), exchanges)

    def _admit(self) -> None:
        """Give slots to those whose turn it is.

        Only while nothing is read: what is under way may go on writing into the slots of members that have left.
        """
        tokens = 0
        while self.waiting and self.slots.can_allocate():
            tokens += len(self.waiting.first().prompt.input_ids)
            if self.reading and tokens > self.max_prefill_tokens:
                return
            sequence = self.waiting.pop()
            sequence.slot, sequence.reused = self.slots.allocate(sequence.prompt.content_ids)
            self.reading.append(sequence)

    def remove(self, sequence: Sequence, *, failed: bool = False) -> None:
        """Forget a sequence, finished or aborted, and free its slot; after a failure nothing in that is trusted."""
        if sequence.slot is None:
            self.waiting.remove(sequence, sequence.job.client)
            return
        (self.reading if sequence in self.reading else self.running).remove(sequence)
        self.slots.release(sequence.slot, NOTHING if failed else sequence.content)
        sequence.slot = None


def counted(sequences: Collection[Sequence], noun: str) -> str:
    """`1 prompt`, `2 prompts`."""
    return f"{len(sequences)} {noun}{'' if len(sequences) == 1 else 's'}"
