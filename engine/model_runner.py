"""A scheduled step -> tensors -> next tokens. The only place where the model and the cache meet."""

import logging
import os
import time
from collections import abc

import psutil
import torch
from torch import Tensor

from engine.allocator import trim
from engine.config import EngineConfig
from engine.cuda_graphs import GRAPHS_BYTES, graphs_for
from engine.decode import Decode, Flight
from engine.device import DeviceError, choose_attention, choose_device, choose_dtype
from engine.errors import GenerationFailed, UnexpectedFailure
from engine.image_cache import ImageCache
from engine.kv_cache import KVCache, slot_bytes
from engine.memory import is_shortage, plan, reading_bytes, weight_bytes
from engine.pace import Pace
from engine.prefill import Prefill
from engine.request import Sequence, Token
from engine.sampler import depends_on_its_tokens, pick
from engine.scheduler import Step, counted
from engine.threads import compute_threads
from models.paddleocr_vl.linear import Int8Linear, int8_works, pack
from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.processor import Processor
from models.paddleocr_vl.slices import Sliced
from models.paddleocr_vl.weights import load_model

logger = logging.getLogger(__name__)

Outcome = Token | GenerationFailed
MAX_TOKENS = {"cpu": 256, "cuda": 4096}  # of prompts that are read together; on a CPU, where nothing is won, few
TRIM_SECONDS = 10.0  # between two times, which take 10 to 30 ms each
SLICE_ROWS = {"cpu": 1024, "cuda": 8192}  # tokens of a slice of the vision tower


class ModelRunner:
    def __init__(self, config: EngineConfig, processor: Processor) -> None:
        """Loads the weights and takes the cache's memory. Raises CheckpointError, DeviceError."""
        self.device = choose_device(config.device, config.worker)
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(compute_threads(config.workers))
        if config.gpu_memory_limit is not None and self.device.type != "cuda":
            logger.warning("GPU_MEMORY_LIMIT has no effect: the model runs on %s.", self.device)
        elif config.gpu_memory_limit is not None:
            whole = torch.cuda.get_device_properties(self.device).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, config.gpu_memory_limit / whole), self.device)
        self.dtype = choose_dtype(config.dtype, self.device, processor.config.text_config)
        self.model: PaddleOCRVL = load_model(config.model, processor.config, self.device, self.dtype)
        self._pack(config.weights)
        self.model.visual.full_attention = choose_attention(self.device, self.dtype, processor.config.vision_config)
        text = processor.config.text_config
        rows = SLICE_ROWS[self.device.type]
        self.max_prefill_tokens = MAX_TOKENS[self.device.type]
        self.plan = plan(
            self.device,
            weight_bytes(self.model),
            reading_bytes(processor.config, max(self.max_prefill_tokens, config.max_model_len), rows, self.dtype),
            config.image_cache_bytes,
            GRAPHS_BYTES if self.device.type == "cuda" else 0,
            slot_bytes(text, config.max_model_len, self.dtype),
            config.slots,
            config.gpu_memory_limit if self.device.type == "cuda" else None,
        )
        logger.info("Memory: %s", self.plan)
        self.slots = self.plan.slots
        self.cache = KVCache(text, self.slots, config.max_model_len, self.device, self.dtype)
        self.images = ImageCache(config.image_cache_bytes)
        self.prefill = Prefill(self.model, self.cache, self.images, self.max_prefill_tokens * processor.merge**2, rows)
        self.decode = Decode(self.model, self.cache, graphs_for(self.device))
        self._flight: Flight | None = None  # a decode step whose tokens nobody has read yet
        self._in_step = self.decode.graphs is None  # with the device: no step is launched before the last one is read
        self._pace = Pace()
        self._reading: list[Sequence] = []  # whose prompts `_work` reads
        self._work: Sliced[Tensor] | None = None
        self._longest = 0.0  # of its slices so far, in seconds
        self._trimmed_at = time.monotonic()

    def _pack(self, weights: str) -> None:
        if weights == "int8":
            if not int8_works(self.device):
                raise DeviceError(f"WEIGHTS=int8 needs a CPU with VNNI; this is {self.device}. Leave it at native.")
            pack(self.model.text, int8=True)
            self.model.lm_head = Int8Linear(self.model.lm_head)  # type: ignore[assignment]
        pack(self.model)
        for parameter in self.model.parameters():
            if self.device.type == "cpu" and not parameter.is_mkldnn:
                parameter.data = parameter.data.clone()  # the last views of the file, which would keep all of it mapped

    @torch.inference_mode()
    def run(self, step: Step) -> list[tuple[Sequence, Outcome]]:
        """One decode step, and as much reading as fits before it; the next token, or the failure, of those who get one.

        A sequence of `step.reading` gets its first token in the step that finishes its group. Where the device works
        behind its launches, a decode step's tokens are those that the last one launched.
        """
        for exchange in step.exchanges:
            self.cache.exchange(*exchange)
        for sequence in step.decode:
            if sequence.grammar is not None:
                sequence.grammar.begin_mask()
        if not step.reading:
            self._work, self._reading = None, []  # whoever was read last may have left; nothing is held for them
        outcomes = self._read(step) if step.reading else []
        outcomes += self._decode(step.decode)
        self._trim()
        return outcomes

    def _read(self, step: Step) -> list[tuple[Sequence, Outcome]]:
        """Go on reading prompts for a while. Empty while they are not done."""
        if self._work is None or step.reading[0] not in self._reading:  # the last group is done, or all of it has left
            self._begin(step.reading)
        try:
            logits = self._go_on(self._pace.reading_seconds(running=bool(step.decode)), alone=not step.decode)
            if logits is None:
                return []
            rows = [row for row, sequence in enumerate(self._reading) if sequence.slot is not None]
            members = [self._reading[row] for row in rows]
            return self._checked(list(zip(members, pick(logits[rows], members).on_host(), strict=True)))
        except Exception as error:
            self._work = None
            return self._read_apart(step.reading, error)

    def _go_on(self, seconds: float, *, alone: bool) -> Tensor | None:
        """Read for so long; logits of the group's last tokens, (B, vocabulary), once all is read."""
        assert self._work is not None
        if not alone and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # what was launched before is not this reading's time
        started = now = time.monotonic()
        try:
            while True:
                next(self._work)
                if not alone and self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)  # else only the launches are timed
                before, now = now, time.monotonic()
                self._longest = max(self._longest, now - before)
                if now + self._longest - started > seconds:  # the next slice may take as long
                    return None
        except StopIteration as end:
            self._work = None
            logits: Tensor = end.value
            return logits

    def _begin(self, sequences: abc.Sequence[Sequence]) -> None:
        for sequence in sequences:
            if sequence.grammar is not None:
                sequence.grammar.begin_mask()
            if self.decode.graphs and sequence.slot is not None:
                # A graph reads beyond what is written, with a weight of 0; a step launched for who had the slot before
                # may have left there what is not finite.
                self.cache.clear(sequence.slot, slice(sequence.reused, None))
        self._reading = list(sequences)
        self._work = self.prefill.read(sequences)
        self._longest = 0.0

    def _read_apart(self, sequences: abc.Sequence[Sequence], error: Exception) -> list[tuple[Sequence, Outcome]]:
        """What did not fit together, or broke, is tried one by one; what does so alone fails."""
        self._recover(f"Reading {counted(sequences, 'prompt')}", error, alone=len(sequences) == 1)
        if len(sequences) > 1:
            self._begin(sequences[:1])
            return []
        hint = "the device ran out of memory while reading the prompt; send a smaller image"
        return [(sequences[0], self._failure(sequences[0], error, hint))]

    def _decode(self, sequences: abc.Sequence[Sequence]) -> list[tuple[Sequence, Outcome]]:
        """The tokens of the step that was launched last, once the next one has been launched, if that can be."""
        if self._in_step or any(map(depends_on_its_tokens, sequences)):
            if self._flight is not None:
                return self.land()
            self._in_step = self.decode.graphs is None
            return self._decoded(sequences) if sequences else []
        before, self._flight = self._flight, None
        under_way = before.sequences if before else []
        lasting = [one for one in sequences if len(one.tokens) + (one in under_way) < one.max_tokens]
        try:
            self._flight = self.decode.launch(lasting, before) if lasting else None
        except Exception as error:  # nothing of it has been told to anybody: it is tried again, step by step
            self._recover(f"Decoding {counted(lasting, 'answer')}", error, alone=False)
            self._in_step = True
        return self._landed(before) if before else []

    def _decoded(self, sequences: abc.Sequence[Sequence]) -> list[tuple[Sequence, Outcome]]:
        """The next token of each. A batch that does not fit, or breaks, is tried in halves, down to who fails alone.

        Trying again is harmless: the same entries are written to the same places of the cache.
        """
        try:
            return self._landed(self.decode.launch(sequences))
        except Exception as error:
            self._recover(f"Decoding {counted(sequences, 'answer')}", error, alone=len(sequences) == 1)
            if len(sequences) > 1:
                half = len(sequences) // 2
                return self._decoded(sequences[:half]) + self._decoded(sequences[half:])
            hint = "the device ran out of memory while writing the answer; try again later"
            return [(sequences[0], self._failure(sequences[0], error, hint))]

    def _recover(self, work: str, error: Exception, *, alone: bool) -> None:
        """Make room, and trust nothing that is kept."""
        if is_shortage(error):
            logger.warning("%s did not fit into memory: %s", work, error)
        elif alone:
            logger.error("%s failed", work, exc_info=error)
        else:
            logger.warning("%s together failed: %s", work, error)
        self.images.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _failure(self, sequence: Sequence, error: Exception, shortage: str) -> GenerationFailed:
        assert sequence.slot is not None
        self.cache.clear(sequence.slot, slice(sequence.cached + 1))  # whatever was written there
        return GenerationFailed(shortage) if is_shortage(error) else UnexpectedFailure()

    def land(self) -> list[tuple[Sequence, Outcome]]:
        """What comes of the step that has been launched, if there is one, without another."""
        flight, self._flight = self._flight, None
        return self._landed(flight) if flight else []

    def _landed(self, flight: Flight) -> list[tuple[Sequence, Outcome]]:
        """What became of a decode step, for those who have not left since it was launched."""
        if all(sequence.slot is None for sequence in flight.sequences):
            return []
        outcomes = self._checked([(s, token) for s, token in flight.tokens() if s.slot is not None])
        if any(isinstance(outcome, Token) for _, outcome in outcomes):  # what breaks at once sets no pace
            self._pace.decoded(flight.seconds())
        return outcomes

    def _checked(self, tokens: abc.Sequence[tuple[Sequence, Token | None]]) -> list[tuple[Sequence, Outcome]]:
        """A token for each, or why there is none."""
        failure = "the model's output is not finite; try DTYPE=float32"
        for sequence, token in tokens:
            if token is None and sequence.slot is not None:
                written = slice(sequence.cached + 1)
                self.cache.clear(sequence.slot, written)  # neighbours may read it, with a weight of 0
        return [(sequence, token or GenerationFailed(failure)) for sequence, token in tokens]

    def _trim(self) -> None:
        """Hand back, now and then, what was freed: buffers of every size come and go, and the holes add up."""
        now = time.monotonic()
        if now - self._trimmed_at > TRIM_SECONDS:
            self._trimmed_at = now
            trim()

    def memory_used_mb(self) -> float:
        """MiB that the model and its cache hold: of the GPU's memory, or this process's resident memory on a CPU."""
        if self.device.type == "cuda":
            used = torch.cuda.memory_allocated(self.device)
        else:
            used = psutil.Process().memory_info().rss
        return round(used / 2**20, 1)
