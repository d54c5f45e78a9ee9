"""What runs next: clients take turns; a few prompts are prefilled between decode steps of everything that runs.

The life of a request: waiting -> (a slot is free) prefilling, over as many steps as its prompt takes, to its first
token -> running, one token a step -> done.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import chain

from engine.fair_queue import FairQueue
from engine.request import Sequence
from engine.slots import NOTHING, Exchange, Slots


@dataclass(frozen=True)
class Step:
    """The work of one step of the engine."""

    prefill: list[Sequence]  # prompts of one group; the same ones until they have their first tokens
    decode: list[Sequence]
    exchanges: list[Exchange] = field(default_factory=list)  # exchanges of slots, before anything else
    pausing: bool = False  # prefill goes on in the next step: the time of this one went to pages

    def __str__(self) -> str:
        work = ((self.prefill, "prefilling", "prompt"), (self.decode, "decoding", "answer"))
        return " and ".join(f"{verb} {counted(group, noun)}" for group, verb, noun in work if group)


class Scheduler:
    """The sequences of an engine, by stage, and the choice of what the next step works on."""

    def __init__(self, slots: Slots, max_prefill_tokens: int = 0) -> None:
        """Prompts of up to `max_prefill_tokens` together are prefilled as a group; a longer prompt alone."""
        self.slots = slots
        self.max_prefill_tokens = max_prefill_tokens
        self.waiting: FairQueue[Sequence] = FairQueue()
        self.prefilling: list[Sequence] = []
        self.running: list[Sequence] = []

    def __contains__(self, sequence: Sequence) -> bool:
        return sequence in chain(self.waiting, self.prefilling, self.running)

    def __iter__(self) -> "chain[Sequence]":
        return chain(self.waiting, self.prefilling, self.running)

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.prefilling and not self.running

    def add(self, sequence: Sequence) -> None:
        self.waiting.add(sequence, sequence.job.client, follows=sequence.follows)

    def schedule(self) -> Step:
        """The next step. Sequences that got their first token in the last one move to running."""
        self.running += [sequence for sequence in self.prefilling if sequence.tokens]
        self.prefilling = [sequence for sequence in self.prefilling if not sequence.tokens]
        if not self.prefilling:
            self._admit()
        exchanges, self.slots.exchanges = self.slots.exchanges, []
        return Step(list(self.prefilling), list(self.running), exchanges)

    def _admit(self) -> None:
        """Give slots to the next sequences in turn, as a group to prefill.

        Only while no group is: its work may still write into the slots of members that were removed.
        """
        tokens = 0
        while self.waiting and self.slots.can_allocate():
            tokens += len(self.waiting.first().prompt.input_ids)
            if self.prefilling and tokens > self.max_prefill_tokens:
                return
            sequence = self.waiting.pop()
            sequence.slot, sequence.reused = self.slots.allocate(sequence.prompt.content_ids)
            sequence.likely = self.slots.followed.tolist()
            self.prefilling.append(sequence)

    def remove(self, sequence: Sequence, *, failed: bool = False) -> None:
        """Drop a finished or aborted sequence and free its slot; after a failure the slot's content is not reused."""
        if sequence.slot is None:
            self.waiting.remove(sequence, sequence.job.client)
            return
        (self.prefilling if sequence in self.prefilling else self.running).remove(sequence)
        self.slots.release(sequence.slot, NOTHING if failed else sequence.content)
        sequence.slot = None


def counted(ones: Collection[object], noun: str) -> str:
    """`1 prompt`, `2 prompts`."""
    return f"{len(ones)} {noun}{'' if len(ones) == 1 else 's'}"
