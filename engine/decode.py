"""Decoding: one step of all running sequences in one batch, launched before the tokens of the last one are known.

The host reads a step's tokens while the device works on the next, which takes them from where the sampler left them.
A CPU does not work asynchronously: a step is done when its launch returns.
"""

from collections import abc
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from engine.cuda_graphs import Graphs
from engine.kv_cache import KVCache
from engine.launches import Stopwatch, to_device
from engine.request import Sequence, Token
from engine.sampler import Best, Picked, best, pick
from models.paddleocr_vl.attention import decode_attention
from models.protocol import Attend, Network

UNKNOWN = -1  # in place of a token that the host has not read yet
JOINT_TOKENS = {"cpu": 200, "cuda": 4000}  # overhead of a call of attention, in tokens of the cache that it could read
MIN_LENGTH = 512  # cache positions that a graph reads at least
WASTED_TOKENS = 8192  # cache positions a graph may read in vain: a fifth of the time that reading the weights takes


class BatchRow(NamedTuple):
    """One sequence of a step, as a row of the table that goes to the device."""

    token: int  # input of the step, or UNKNOWN
    position: int  # M-RoPE, the same on all axes
    cache_position: int  # the token's, in its slot
    slot: int


class Flight:
    """A step that has been launched."""

    def __init__(self, sequences: abc.Sequence[Sequence | None], picked: Picked, watch: Stopwatch) -> None:
        self.sequences = [sequence for sequence in sequences if sequence is not None]
        self._picked = picked
        self._watch = watch

    def tokens(self) -> list[tuple[Sequence, Token | None]]:
        """The next token of each sequence, None where its logits are not finite. Waits for the device."""
        return list(zip(self.sequences, self._picked.on_host(), strict=True))

    def seconds(self) -> float:
        """Seconds that the device spent on this step; waits until it is finished."""
        return self._watch.seconds()


class Decode:
    """The decode stage: launches a step by a CUDA graph where one fits the batch, else operation by operation."""

    def __init__(self, model: Network, cache: KVCache, graphs: Graphs | None) -> None:
        """`graphs`: None where the device works in step with the host."""
        self.model, self.cache, self.graphs = model, cache, graphs
        self.device = cache.entries.device
        slots = cache.entries.shape[1]
        self._newest = torch.zeros(slots, dtype=torch.int64, device=self.device)  # token of each slot
        # One buffer for the logits of all graphs; in their pool each would have its own, of up to 25 MiB.
        self._logits_buffer = torch.empty(slots if graphs else 0, model.vocabulary, device=self.device)

    def launch(self, sequences: abc.Sequence[Sequence], previous: Flight | None = None) -> Flight:
        """Launch a step of `sequences`, whose newest tokens may still be in flight in the `previous` step."""
        watch = Stopwatch(self.device)
        with watch:
            batch = sorted(sequences, key=lambda sequence: sequence.slot or 0)  # neighbours attend in one call
            rows = [
                row_of(sequence, ahead=previous is not None and sequence in previous.sequences) for sequence in batch
            ]
            block = self._block(rows)
            outcome = self._replayed(rows, block) if block else None
            if block and outcome:
                by_slot = {sequence.slot: sequence for sequence in batch}
                members = [by_slot.get(slot) for slot in range(block.first, block.first + block.count)]
                picked = pick(outcome[0], members, outcome[1])
                self._newest[block.slots] = picked.tokens
            else:
                members = [*batch]
                picked = pick(self._logits_of(rows), members)
                if self.graphs:
                    self._newest[to_device(torch.tensor([row.slot for row in rows]), self.device)] = picked.tokens
        return Flight(members, picked, watch)

    def _block(self, rows: abc.Sequence[BatchRow]) -> "Block | None":
        if self.graphs is None:
            return None
        slots, lengths = [row.slot for row in rows], [row.cache_position + 1 for row in rows]
        return block_of(slots, lengths, len(self._newest), self.cache.scratch)

    def _logits_of(self, rows: abc.Sequence[BatchRow]) -> Tensor:
        """(B, vocabulary) fp32, with a call of attention for each group of neighbouring slots of similar length."""
        slots, lengths = [row.slot for row in rows], [row.cache_position + 1 for row in rows]
        tokens, positions, cache_positions, slot_index = to_device(torch.tensor(rows), self.device).unbind(1)
        if self.graphs:
            tokens = torch.where(tokens == UNKNOWN, self._newest[slot_index], tokens)
        groups = together(slots, lengths, JOINT_TOKENS[self.device.type])
        masks = [
            None if min(lengths[own]) == max(lengths[own]) else self._mask(cache_positions[own], max(lengths[own]))
            for own in groups
        ]

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            self.cache.append(layer, slot_index, cache_positions, kv)
            outputs = []
            for own, mask in zip(groups, masks, strict=True):
                stored = slice(slots[own.start], slots[own.start] + own.stop - own.start)
                keys, values = self.cache.view(layer, stored, max(lengths[own]))
                outputs.append(decode_attention(q[own], keys, values, mask))
            return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

        return self._logits(tokens, positions, attend)

    def _replayed(self, rows: abc.Sequence[BatchRow], block: "Block") -> tuple[Tensor, Best] | None:
        """Logits of a block of slots and what `best` finds in them, by a graph; None where no graph can be used.

        Slots without a sequence in the batch are rows too, which write to the scratch position.
        """
        assert self.graphs is not None
        inputs = [[0, 0, self.cache.scratch]] * block.count
        for row in rows:
            inputs[row.slot - block.first] = [row.token, row.position, row.cache_position]
        outcome: tuple[Tensor, Best] | None = self.graphs.run(
            block, self._work_of(block), torch.tensor(inputs), self._idle(block)
        )
        return outcome

    def prepare(self) -> None:
        """Capture the graphs of common steps, as far as there is room: captured later, they would delay answers."""
        if self.graphs is None:
            return
        for block in common_blocks(len(self._newest), self.cache.scratch):
            if not self.graphs.prepare(block, self._work_of(block), self._idle(block)):
                return

    def _idle(self, block: "Block") -> Tensor:
        """The table of a block without sequences, whose rows all write to the scratch position."""
        return torch.tensor([[0, 0, self.cache.scratch]] * block.count)

    def _work_of(self, block: "Block") -> abc.Callable[[Tensor], tuple[Tensor, Best]]:
        """The work of a block's graph: a table of tokens, positions and cache positions -> what `_replayed` returns."""

        def work(table: Tensor) -> tuple[Tensor, Best]:
            given, positions, cache_positions = table.unbind(1)
            tokens = torch.where(given == UNKNOWN, self._newest[block.slots], given)
            mask = self._mask(cache_positions, block.length)
            slot_index = torch.arange(block.first, block.first + block.count, device=self.device)

            def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
                self.cache.append(layer, slot_index, cache_positions, kv)
                keys, values = self.cache.view(layer, block.slots, block.length)
                return decode_attention(q, keys, values, mask)

            logits = self._logits_buffer[: block.count].copy_(self._logits(tokens, positions, attend))
            return logits, best(logits)

        return work

    def _logits(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        return self.model.logits(self.model.decode(self.model.embed(tokens), positions.expand(3, -1), attend))

    def _mask(self, cache_positions: Tensor, length: int) -> Tensor:
        """(B, 1, 1, length), added to scores: rows attend to their slots up to and including `cache_positions` (B,)."""
        beyond = torch.arange(length, device=self.device) > cache_positions[:, None]
        mask = torch.zeros(beyond.shape, dtype=self.cache.dtype, device=self.device)
        return mask.masked_fill_(beyond, float("-inf"))[:, None, None]


def row_of(sequence: Sequence, *, ahead: bool) -> BatchRow:
    """`ahead`: the newest token of the sequence is still in flight."""
    assert sequence.slot is not None
    token = UNKNOWN if ahead else sequence.tokens[-1]
    return BatchRow(token, sequence.position + ahead, sequence.cached + ahead, sequence.slot)


@dataclass(frozen=True)
class Block:
    """The work of one graph: neighbouring slots, read up to one length."""

    first: int
    count: int
    length: int

    @property
    def slots(self) -> slice:
        return slice(self.first, self.first + self.count)


def block_of(used: abc.Sequence[int], lengths: abc.Sequence[int], slots: int, longest: int) -> Block | None:
    """The block for a batch in the slots `used`, of `slots`: a power of two of slots, and one of few lengths.

    Its first slot is a multiple of its count. None where too much would be read in vain.
    """
    count = 1
    while min(used) // count != max(used) // count:
        count *= 2
    first = min(used) // count * count
    count = min(count, slots - first)
    length = bucket(max(lengths), longest)
    return Block(first, count, length) if count * length <= 2 * sum(lengths) + WASTED_TOKENS else None


def common_blocks(slots: int, longest: int) -> list[Block]:
    """The blocks of usual batches, for graphs that are captured ahead; the smallest first.

    Running sequences have the lowest slots. Prompts of an image with their answers rarely exceed 1536 tokens.
    """
    counts = [2**power for power in range((slots - 1).bit_length())] + [slots]
    lengths = sorted({bucket(length, longest) for length in (512, 768, 1024, 1536)})
    return [Block(0, count, length) for length in lengths for count in counts]


def bucket(length: int, longest: int) -> int:
    """The smallest of 512, 768, 1024, 1536, 2048, ... that is at least `length`; at most `longest`."""
    size = MIN_LENGTH
    while size < length:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return min(size, longest)


def together(slots: abc.Sequence[int], lengths: abc.Sequence[int], joint_tokens: int) -> list[slice]:
    """Groups of rows that share a call of attention: neighbouring slots, as long as that wastes little.

    Every slot in a call is read up to the longest length. `joint_tokens` is the overhead of another call, in tokens
    read.
    """
    groups: list[slice] = []
    longest = 0
    for row, (slot, length) in enumerate(zip(slots, lengths, strict=True)):
        group = groups[-1] if groups else slice(0, 0)
        count = group.stop - group.start
        wasted = count * (max(longest, length) - longest) + max(longest, length) - length
        if count and slot == slots[row - 1] + 1 and wasted <= joint_tokens:
            groups[-1], longest = slice(group.start, row + 1), max(longest, length)
        else:
            groups.append(slice(row, row + 1))
            longest = length
    return groups
