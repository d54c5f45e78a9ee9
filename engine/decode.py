"""Decoding: one step of all running sequences in one batch, launched before the tokens of the last one are known.

The host reads a step's tokens while the device works on the next, which takes them from where the sampler left them.
A CPU does not work asynchronously: a step is done when its launch returns.
"""

from collections import abc
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from engine.cuda_graphs import Graphs
from engine.decode_attention import DecodeAttention
from engine.drafts import Drafts
from engine.kv_cache import KVCache
from engine.launches import Stopwatch, to_device
from engine.recorded_steps import MAX_ROWS, RecordedSteps
from engine.request import Sequence, Token
from engine.sampler import Best, Picked, best, can_be_guessed, pick
from models.protocol import Attend, Network

UNKNOWN = -1  # in place of a token that the host has not read yet
MIN_LENGTH = 512  # cache positions that a graph reads at least


class BatchRow(NamedTuple):
    """One sequence of a step, as a row of the table that goes to the device."""

    token: int  # input of the step, or UNKNOWN
    position: int  # M-RoPE, the same on all axes
    cache_position: int  # the token's, in its slot
    slot: int


class Flight:
    """A step that has been launched."""

    def __init__(self, sequences: abc.Sequence[Sequence | None], picked: Picked, watch: Stopwatch) -> None:
        """`sequences`: that of each row, None for a row without one."""
        self.sequences = [sequence for sequence in sequences if sequence is not None]
        self._picked = picked
        self._watch = watch

    def tokens(self) -> list[tuple[Sequence, Token | None]]:
        """The next tokens of each sequence, None where its logits are not finite. Waits for the device."""
        return list(zip(self.sequences, self._picked.on_host(), strict=True))

    def seconds(self) -> float:
        """Seconds that the device spent on this step; waits until it is finished."""
        return self._watch.seconds()


class GuessedFlight(Flight):
    """A step in which guessed tokens have rows too, each after the row of the token before it."""

    def __init__(self, guesses: "Guesses", picked: Picked, watch: Stopwatch, drafts: Drafts) -> None:
        super().__init__(guesses.sequences_of_rows, picked, watch)
        self._guesses, self._drafts = guesses, drafts

    def tokens(self) -> list[tuple[Sequence, Token | None]]:
        """The next token of each sequence, and those after it that were guessed rightly."""
        own: dict[Sequence, list[Token | None]] = {}
        for sequence, token in super().tokens():
            own.setdefault(sequence, []).append(token)
        kept = {sequence: self._guesses.right(sequence, tokens) for sequence, tokens in own.items()}
        counts = [len(tokens) for tokens in self._guesses.tokens.values()]
        self._drafts.learn([*kept], counts, [len(tokens) - 1 for tokens in kept.values()])
        self._drafts.observe(len(self.sequences), self.seconds())
        return [(sequence, token) for sequence, tokens in kept.items() for token in tokens]


class Guesses:
    """Guessed next tokens of the sequences of a step, and their generators as they were before it."""

    def __init__(self, tokens: abc.Mapping[Sequence, list[int]]) -> None:
        self.tokens = tokens
        self._random = {one: one.random.getstate() for one, guessed in tokens.items() if guessed}

    @property
    def sequences_of_rows(self) -> list[Sequence]:
        return [sequence for sequence, guessed in self.tokens.items() for _ in range(1 + len(guessed))]

    @property
    def rows(self) -> list[BatchRow]:
        rows = []
        for sequence, guessed in self.tokens.items():
            first = row_of(sequence, ahead=False)
            rows.append(first)
            for ahead, token in enumerate(guessed, 1):
                rows.append(BatchRow(token, first.position + ahead, first.cache_position + ahead, first.slot))
        return rows

    def right(self, sequence: Sequence, found: abc.Sequence[Token | None]) -> list[Token | None]:
        """Those of the tokens found in a sequence's rows that would have been found one by one."""
        kept = [*found[:1]]
        for guessed, token in zip(self.tokens[sequence], found[1:], strict=True):
            if token is None or kept[-1] is None or kept[-1].id != guessed:
                break
            kept.append(token)
        if sequence in self._random and not sequence.params.greedy:
            sequence.random.setstate(self._random[sequence])
            for _ in kept:
                sequence.random.random()  # one for each token, as `draw` takes them
        return kept


class Decode:
    """The decode stage: launches a step by a CUDA graph where one fits the batch, else operation by operation."""

    def __init__(
        self,
        model: Network,
        cache: KVCache,
        attention: DecodeAttention,
        graphs: Graphs | None,
        recorded: RecordedSteps | None = None,
    ) -> None:
        """`attention` over `cache`; `graphs`: None where the device works in step with the host.

        `recorded`: for steps of a few rows there, where all is computed by our own kernels.
        """
        self.model, self.cache, self.attention, self.graphs = model, cache, attention, graphs
        self._recorded = recorded
        self.device = cache.entries.device
        slots = cache.entries.shape[1]
        self._newest = torch.zeros(slots, dtype=torch.int64, device=self.device)  # token of each slot
        # One buffer for the logits of all graphs; in their pool each would have its own, of up to 25 MiB.
        buffered = slots if graphs and graphs.captures else 0
        self._logits_buffer = torch.empty(buffered, model.vocabulary, device=self.device)
        self.drafts = Drafts()

    def launch(self, sequences: abc.Sequence[Sequence], previous: Flight | None = None) -> Flight:
        """Launch a step of `sequences`, whose newest tokens may still be in flight in the `previous` step."""
        watch = Stopwatch(self.device)
        with watch:
            batch = sorted(sequences, key=lambda sequence: sequence.slot or 0)  # neighbours attend in one call
            if self.graphs is None:
                guesses = self._guess(batch)
                picked = pick(self._logits_of(guesses.rows), guesses.sequences_of_rows)
                return GuessedFlight(guesses, picked, watch, self.drafts)
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
                self._newest[to_device(torch.tensor([row.slot for row in rows]), self.device)] = picked.tokens
        return Flight(members, picked, watch)

    def _guess(self, batch: abc.Sequence[Sequence]) -> Guesses:
        open_to_it = [sequence for sequence in batch if can_be_guessed(sequence)]
        guessed = dict(zip(open_to_it, self.drafts.guess(open_to_it, rows=len(batch)), strict=True))
        return Guesses({sequence: guessed.get(sequence, []) for sequence in batch})

    def _block(self, rows: abc.Sequence[BatchRow]) -> "Block | None":
        slots, lengths = [row.slot for row in rows], [row.cache_position + 1 for row in rows]
        return block_of(slots, lengths, len(self._newest), self.cache.scratch, self.attention.wasted_tokens)

    def _logits_of(self, rows: abc.Sequence[BatchRow]) -> Tensor:
        """(B, vocabulary) fp32."""
        slots, lengths = [row.slot for row in rows], [row.cache_position + 1 for row in rows]
        tokens, positions, cache_positions, slot_index = to_device(torch.tensor(rows), self.device).unbind(1)
        if self.graphs:
            tokens = torch.where(tokens == UNKNOWN, self._newest[slot_index], tokens)
        if self._recorded and len(rows) <= MAX_ROWS:
            own = self.model.embed(tokens), positions.expand(3, -1), slot_index, cache_positions
            return self.model.logits(self._recorded.decode(*own))
        attend = self.attention.of_rows(slots, lengths, slot_index, cache_positions)
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
            block, self._work_of(block), [torch.tensor(inputs)], partial(self._idle, block)
        )
        return outcome

    def prepare(self) -> None:
        """Capture the graphs of common steps, as far as there is room: captured later, they would delay answers."""
        if self.graphs is None:
            return
        for block in common_blocks(len(self._newest), self.cache.scratch):
            if not self.graphs.prepare(block, self._work_of(block), partial(self._idle, block)):
                return

    def _idle(self, block: "Block") -> list[Tensor]:
        """The table of a block without sequences, whose rows all write to the scratch position."""
        return [torch.tensor([[0, 0, self.cache.scratch]] * block.count)]

    def _work_of(self, block: "Block") -> abc.Callable[[Tensor], tuple[Tensor, Best]]:
        """The work of a block's graph: a table of tokens, positions and cache positions -> what `_replayed` returns."""

        def work(table: Tensor) -> tuple[Tensor, Best]:
            given, positions, cache_positions = table.unbind(1)
            tokens = torch.where(given == UNKNOWN, self._newest[block.slots], given)
            attend = self.attention.of_block(block.slots, block.length, cache_positions)
            logits = self._logits_buffer[: block.count].copy_(self._logits(tokens, positions, attend))
            return logits, best(logits)

        return work

    def _logits(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        return self.model.logits(self.model.decode(self.model.embed(tokens), positions.expand(3, -1), attend))


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


def block_of(
    used: abc.Sequence[int], lengths: abc.Sequence[int], slots: int, longest: int, wasted_tokens: float
) -> Block | None:
    """The block for a batch in the slots `used`, of `slots`: a power of two of slots, and one of few lengths.

    Its first slot is a multiple of its count. None where far more than `wasted_tokens` would be read in vain.
    """
    count = 1
    while min(used) // count != max(used) // count:
        count *= 2
    first = min(used) // count * count
    count = min(count, slots - first)
    length = bucket(max(lengths), longest)
    return Block(first, count, length) if count * length <= 2 * sum(lengths) + wasted_tokens else None


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
