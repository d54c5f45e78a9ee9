"""The cache slots: which are free, and the prefix cache: what the free ones still hold of their last sequences."""

from typing import NamedTuple

import numpy as np

MIN_REUSE = 16  # tokens; fewer are prefilled again
MIN_SHARE = 0.25  # share of a prompt for which a slot is allocated out of turn
NOTHING = np.empty(0, dtype=np.int64)


class Exchange(NamedTuple):
    """Two slots swap what their first `length` tokens hold."""

    a: int
    b: int
    length: int


class Slots:
    """The allocator of cache slots. It prefers slots that already hold the beginning of the prompt."""

    def __init__(self, count: int, *, dense: bool = False) -> None:
        """`dense`: always allocate the lowest free slot; its content moves to another one (`exchanges`)."""
        self.count = count
        self.exchanges: list[Exchange] = []  # to carry out, in this order, before slots allocated since are used
        self.followed = NOTHING  # what came, in a slot, after the beginning of the prompt that was given one last
        self._dense = dense
        self._free = dict.fromkeys(range(count), NOTHING)  # slot -> its content ids, in the order of release

    @property
    def free(self) -> int:
        return len(self._free)

    def can_allocate(self) -> bool:
        return bool(self._free)

    def allocate(self, content: np.ndarray) -> tuple[int, int]:
        """A free slot for a prompt of these content ids, and how many of its first tokens the slot holds already.

        It is the slot with the longest common prefix; where none has a good part of the prompt, an empty one, or else
        the one that was freed longest ago: a system text that all requests begin with must not send them all to one
        slot. At least the prompt's last token is left to prefill, for its logits. The slot's other content is lost.
        The caller checks `can_allocate` before, and carries out the exchanges.
        """
        shared = {slot: _common_length(content[:-1], held) for slot, held in self._free.items()}
        slot = max(shared, key=shared.__getitem__)  # among equals, the one that was freed longest ago
        self.followed = self._free[slot][shared[slot] - MIN_REUSE :] if shared[slot] >= MIN_REUSE else NOTHING
        if shared[slot] < max(MIN_REUSE, MIN_SHARE * len(content)):
            slot = min(self._free, key=lambda slot: len(self._free[slot]) > 0)
        del self._free[slot]
        reused = shared[slot] if shared[slot] >= MIN_REUSE else 0
        return (self._lowered(slot, reused) if self._dense else slot), reused

    def _lowered(self, slot: int, reused: int) -> int:
        """The lowest free slot, after it has swapped contents with `slot`."""
        lowest = min(self._free, default=slot)
        if lowest >= slot:
            return slot
        if length := max(reused, len(self._free[lowest])):
            self.exchanges.append(Exchange(lowest, slot, length))
        self._free = {slot if free == lowest else free: content for free, content in self._free.items()}
        return lowest

    def release(self, slot: int, content: np.ndarray = NOTHING) -> None:
        """Free a slot whose first tokens have these content ids. Raises ValueError where it is free."""
        if slot in self._free or not 0 <= slot < self.count:
            raise ValueError(f"slot {slot} is not in use")
        self._free[slot] = content


def _common_length(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the longest common prefix."""
    length = min(len(a), len(b))
    different = np.flatnonzero(a[:length] != b[:length])
    return int(different[0]) if len(different) else length
