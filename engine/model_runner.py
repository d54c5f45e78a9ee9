"""A scheduled step -> next tokens: prefill in slices bounded by time, then one decode step of everything that runs.

It also decides what happens when either fails: memory is freed, and a batch is split until the request that fails alone
is found.
"""

import logging
import time
from collections import abc
from typing import Any

import psutil
import torch
from torch import Tensor

from engine.allocator import trim
from engine.decode import Decode, Flight
from engine.drafts import MAX_DRAFT
from engine.errors import GenerationFailed, UnexpectedFailure
from engine.image_cache import ImageCache
from engine.kv_cache import KVCache
from engine.look import Look, page_failure
from engine.memory import MemoryPlan, is_shortage, release_cached
from engine.pace import Pace, slices_for
from engine.pages import Page
from engine.prefill import Prefill
from engine.request import Sequence, Token
from engine.sampler import depends_on_its_tokens, pick
from engine.scheduler import Step, counted
from engine.stats import Totals
from models.protocol import Network, Sliced

logger = logging.getLogger(__name__)

Outcome = Token | GenerationFailed
TRIM_SECONDS = 10.0  # between two trims, which take 10 to 30 ms each


class ModelRunner:
    """The device side of the engine: runs the scheduled steps. It owns the caches, and both stages that use them."""

    def __init__(
        self,
        *,
        model: Network,
        cache: KVCache,
        images: ImageCache,
        prefill: Prefill,
        decode: Decode,
        look: Look,
        plan: MemoryPlan,
        max_prefill_tokens: int,
        dtype: torch.dtype,
    ) -> None:
        """`max_prefill_tokens`: of prompts that the scheduler may prefill together."""
        self.model = model
        self.cache = cache
        self.images = images
        self.prefill = prefill
        self.decode = decode
        self.look = look
        self.plan = plan
        self.max_prefill_tokens = max_prefill_tokens
        self.device, self.dtype = cache.entries.device, dtype
        self._flight: Flight | None = None  # a decode step whose tokens have not been read yet
        self._in_step = self.decode.graphs is None  # no step is launched before the tokens of the last one are read
        self._pace = Pace()
        self._group: list[Sequence] = []  # sequences whose prompts `_work` prefills
        self._work: Sliced[Tensor] | None = None
        self._slices = slices_for(self.device)
        self._trimmed_at = time.monotonic()

    @property
    def slots(self) -> int:
        return self.plan.slots

    @property
    def dense_slots(self) -> bool:
        """Running sequences must have the lowest slots: graphs read a block of neighbouring slots."""
        return self.decode.graphs is not None

    @property
    def totals(self) -> Totals:
        """Counts since the last `reset`."""
        return self.prefill.totals

    @property
    def image_cache_bytes(self) -> int:
        return self.images.used

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    def reset(self) -> None:
        """Empty the image cache and begin new totals. No step is in flight then."""
        self.images.clear()
        self.prefill.totals = Totals()

    @torch.inference_mode()
    def prepare(self) -> None:
        """Do what would delay the first answers, once the model has been tried out. No step is in flight then."""
        self.decode.prepare()
        self.prefill.encode.prepare()
        if self.device.type == "cuda":
            release_cached()  # what measurements and warm-ups before captures have left

    @torch.inference_mode()
    def run(self, step: Step) -> list[tuple[Sequence, Outcome]]:
        """As much prefill as time allows, then one decode step; the next token, or the failure, of sequences with one.

        A sequence of `step.prefill` gets its first token in the step that finishes its group. Where decoding is
        overlapped, the decode tokens are those of the step launched last time.
        """
        for exchange in step.exchanges:
            self.cache.exchange(*exchange)
        for sequence in step.decode:
            if sequence.grammar is not None:
                sequence.grammar.begin_mask()
        if not step.prefill:
            self._work, self._group = None, []  # the last group may have been aborted; nothing is held for it
        outcomes = self._prefill(step) if step.prefill and not step.pausing else []
        outcomes += self._decode(step.decode)
        self._trim()
        return outcomes

    # --- prefill ------------------------------------------------------------------------------------------------------

    def _prefill(self, step: Step) -> list[tuple[Sequence, Outcome]]:
        """Continue prefilling a group of prompts; no outcomes while they are not done."""
        if self._work is None or step.prefill[0] not in self._group:  # the last group is done, or was all aborted
            self._begin_prefill(step.prefill)
        try:
            seconds = self._pace.prefill_seconds(step.decode)
            logits = self._continue_prefill(seconds)
            if logits is None:
                return []
            rows = [row for row, sequence in enumerate(self._group) if sequence.slot is not None]
            members = [self._group[row] for row in rows]
            tokens = pick(logits[rows], members).on_host()
            self.prefill.add_times()
            return self._checked(list(zip(members, tokens, strict=True)))
        except Exception as error:
            self._work = None
            return self._prefill_apart(step.prefill, error)

    def _begin_prefill(self, sequences: abc.Sequence[Sequence]) -> None:
        for sequence in sequences:
            if sequence.grammar is not None:
                sequence.grammar.begin_mask()
            if self.decode.graphs and self.decode.attention.reads_beyond and sequence.slot is not None:
                # A graph reads beyond what is written, with a weight of 0; a step launched for the slot's last owner
                # may have left non-finite entries there.
                self.cache.clear(sequence.slot, slice(sequence.reused, None))
        self._group = list(sequences)
        self._work = self.prefill.run_sliced(sequences)
        self._slices.begin()

    def _continue_prefill(self, seconds: float) -> Tensor | None:
        """Prefill for that long; logits of the group's last tokens, (B, vocabulary), once it is done."""
        assert self._work is not None
        try:
            logits = self._slices.advance(self._work, seconds)
        finally:
            self.prefill.pause()
        if logits is not None:
            self._work = None
        return logits

    def _prefill_apart(self, sequences: abc.Sequence[Sequence], error: Exception) -> list[tuple[Sequence, Outcome]]:
        """Retry one by one after a group failed, of memory or by an error; a prompt that fails alone is at fault."""
        self._recover(f"Prefilling {counted(sequences, 'prompt')}", error, alone=len(sequences) == 1)
        if len(sequences) > 1:
            self._begin_prefill(sequences[:1])
            return []
        hint = "the device ran out of memory while reading the prompt; send a smaller image"
        return [(sequences[0], self._failure(sequences[0], error, hint))]

    # --- pages --------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def look_at(self, pages: abc.Sequence[Page], running: abc.Sequence[Sequence]) -> list[tuple[Page, Any]]:
        """Look at a batch of pages for as long as prefill may take; the result, or the failure, of pages with one.

        `running`: answers whose decode step follows. Of several pages that fail together none fails yet: each gets a
        turn alone.
        """
        try:
            return self.look.advance(pages, self._pace.prefill_seconds(running), self.totals)
        except Exception as error:
            failed = self.look.failed
            self._recover(f"Looking at {counted(failed, 'page')}", error, alone=len(failed) == 1)
            return [(failed[0], page_failure(error))] if len(failed) == 1 else []

    @torch.inference_mode()
    def try_pages(self) -> None:
        """Look at an empty page with every network. Raises what a network raises."""
        self.look.try_out()

    # --- decode -------------------------------------------------------------------------------------------------------

    def _decode(self, sequences: abc.Sequence[Sequence]) -> list[tuple[Sequence, Outcome]]:
        """One decode step: overlapped with the device, unless only the host can prepare a sequence's next token."""
        if self._in_step or any(map(depends_on_its_tokens, sequences)):
            return self._decode_in_step(sequences)
        return self._decode_overlapped(sequences)

    def _decode_in_step(self, sequences: abc.Sequence[Sequence]) -> list[tuple[Sequence, Outcome]]:
        """Launch a step and wait for its tokens.

        A step that is still in flight is landed instead: its tokens are the input of the next one.
        """
        if self._flight is not None:
            return self.land()
        self._in_step = self.decode.graphs is None
        return self._decode_batch(sequences) if sequences else []

    def _decode_overlapped(self, sequences: abc.Sequence[Sequence]) -> list[tuple[Sequence, Outcome]]:
        """Launch the next step, then read the tokens of the previous one while the device works.

        The new step takes those tokens from the device. It leaves out sequences whose last token is in flight.
        """
        previous, self._flight = self._flight, None
        in_flight = previous.sequences if previous else []
        unfinished = [one for one in sequences if len(one.tokens) + (one in in_flight) < one.max_tokens]
        try:
            self._flight = self.decode.launch(unfinished, previous) if unfinished else None
        except Exception as error:  # nothing of the step has been published: the next one repeats it, in step
            self._recover(f"Decoding {counted(unfinished, 'answer')}", error, alone=False)
            self._in_step = True
        return self._landed(previous) if previous else []

    def _decode_batch(self, sequences: abc.Sequence[Sequence]) -> list[tuple[Sequence, Outcome]]:
        """The next token of each. A batch that fails is halved until the sequence that fails alone is found.

        Repeating a step is harmless: it writes the same entries to the same positions of the cache.
        """
        try:
            return self._landed(self.decode.launch(sequences))
        except Exception as error:
            self._recover(f"Decoding {counted(sequences, 'answer')}", error, alone=len(sequences) == 1)
            if len(sequences) > 1:
                half = len(sequences) // 2
                return self._decode_batch(sequences[:half]) + self._decode_batch(sequences[half:])
            hint = "the device ran out of memory while writing the answer; try again later"
            return [(sequences[0], self._failure(sequences[0], error, hint))]

    def land(self) -> list[tuple[Sequence, Outcome]]:
        """Outcomes of the step in flight, if there is one, without launching another."""
        flight, self._flight = self._flight, None
        return self._landed(flight) if flight else []

    def _landed(self, flight: Flight) -> list[tuple[Sequence, Outcome]]:
        """Outcomes of a decode step, for the sequences that have not been removed since it was launched."""
        if all(sequence.slot is None for sequence in flight.sequences):
            return []
        outcomes = self._checked([(s, token) for s, token in flight.tokens() if s.slot is not None])
        if any(isinstance(outcome, Token) for _, outcome in outcomes):  # a step that fails at once sets no pace
            self._pace.observe(flight.seconds())
        return outcomes

    # --- failures -----------------------------------------------------------------------------------------------------

    def _recover(self, work: str, error: Exception, *, alone: bool) -> None:
        """Log the failure, drop cached images, which may be its cause, and free memory."""
        if is_shortage(error):
            logger.warning("%s did not fit into memory: %s", work, error)
        elif alone:
            logger.error("%s failed", work, exc_info=error)
        else:
            logger.warning("%s together failed: %s", work, error)
        self.images.clear()
        if self.device.type == "cuda":
            release_cached()

    def _failure(self, sequence: Sequence, error: Exception, shortage: str) -> GenerationFailed:
        assert sequence.slot is not None
        self.cache.clear(sequence.slot, slice(sequence.cached + 1 + MAX_DRAFT))  # what the failed step may have written
        return GenerationFailed(shortage) if is_shortage(error) else UnexpectedFailure()

    def _checked(self, tokens: abc.Sequence[tuple[Sequence, Token | None]]) -> list[tuple[Sequence, Outcome]]:
        """The token of each sequence, or a failure where its logits were not finite."""
        failure = "the model's output is not finite; try DTYPE=float32"
        for sequence, token in tokens:
            if token is None and sequence.slot is not None:
                written = slice(sequence.cached + 1 + MAX_DRAFT)
                self.cache.clear(sequence.slot, written)  # neighbours may read it, with a weight of 0
        return [(sequence, token or GenerationFailed(failure)) for sequence, token in tokens]

    # --- memory -------------------------------------------------------------------------------------------------------

    def _trim(self) -> None:
        """Hand freed memory back now and then: buffers come and go in every size, and the holes add up."""
        now = time.monotonic()
        if now - self._trimmed_at > TRIM_SECONDS:
            self._trimmed_at = now
            trim()

    def memory_used_mb(self) -> float:
        """MiB that the model and its cache use: GPU memory, or this process's resident memory on a CPU."""
        if self.device.type == "cuda":
            used = torch.cuda.memory_allocated(self.device)
        else:
            used = psutil.Process().memory_info().rss
        return round(used / 2**20, 1)
