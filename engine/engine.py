"""The engine: submit, abort, stats. Owns the one thread that touches the model, loading included.

It knows nothing of HTTP. Requests come in through an inbox that the thread empties between steps; what comes back
crosses to the caller's event loop once a step. torch and transformers are imported on the thread: that takes seconds,
in which the server can already answer for its health.
"""

import asyncio
import itertools
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from collections.abc import Sequence as List
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from engine.admission import Admission
from engine.config import EngineConfig
from engine.detokenizer import Detokenizer, token_bytes
from engine.errors import EngineError, EngineUnavailable, GenerationFailed, InvalidRequest
from engine.request import REPETITION, SamplingParams, Sequence, Token, TokenEvent
from engine.scheduler import Scheduler
from engine.slots import Slots
from engine.threads import background_pool
from engine.totals import Totals
from models.paddleocr_vl.prompts import OCR, PixelBounds, PromptError

if TYPE_CHECKING:
    from engine.model_runner import ModelRunner
    from engine.structured import Grammar, Structures
    from models.paddleocr_vl.processor import ModelInput, Processor

logger = logging.getLogger(__name__)

State = Literal["loading", "ready", "draining", "stopped", "failed", "dead"]
"""failed: the model could not be loaded. dead: the thread broke afterwards."""

LAST_STEP_SECONDS = 5.0  # for the step under way, once everybody's time is up
PREPARE_THREADS = 2  # picture work beside the model's own threads


@dataclass(frozen=True)
class Stats:
    running: int
    waiting: int  # for a slot, or for their pictures to be prepared
    free_slots: int
    cache_usage: float  # share of the slots that are taken: each holds one request, however long
    totals: Totals


@dataclass(frozen=True)
class Report:
    """What came of a step, and how the engine stands after it."""

    stats: Stats
    queued: List[float] = ()  # seconds that prompts whose reading began had waited for a slot
    gaps: List[float] = ()  # seconds from each new token, unless it is an answer's first, to the one before


class Generation:
    """One submitted request: an async stream of TokenEvents, closed by one whose `last` is true."""

    def __init__(self, engine: "Engine", prompt_tokens: int) -> None:
        self.prompt_tokens = prompt_tokens
        self._engine = engine
        self._events: asyncio.Queue[TokenEvent] = asyncio.Queue()
        self._sequence: Sequence | None = None

    async def __aiter__(self) -> AsyncIterator[TokenEvent]:
        """Events up to and with the last. Raises the EngineError that ended the request, if one did."""
        while True:
            event = await self._events.get()
            if event.error is not None:
                raise event.error
            yield event
            if event.last:
                return

    def abort(self) -> None:
        """Give up: takes effect no later than the end of the step already launched. Harmless once finished."""
        if self._sequence is not None:
            self._engine.abort(self._sequence)


class Hold:
    """An answer under way: a draining engine goes on, and takes its further prompts, until it is released."""

    def __init__(self, engine: "Engine") -> None:
        self.admitted = False  # its first prompt is in the queue
        self._engine = engine

    def release(self) -> None:
        """Harmless a second time."""
        self._engine.let_go(self)


class Engine:
    def __init__(self, config: EngineConfig, on_failure: Callable[[BaseException], None] | None = None) -> None:
        """`on_failure` is called on the engine's thread when the model cannot be loaded or the thread dies.

        `observer`, once set, is called on it too: after a step, before its events reach anybody, and when it falls
        idle.
        """
        self.config = config
        self.state: State = "loading"
        self.error: BaseException | None = None
        self.processor: Processor | None = None
        self.runner: ModelRunner | None = None
        self.structures: Structures | None = None
        self.observer: Callable[[Report], None] | None = None
        self._on_failure = on_failure
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._scheduler = Scheduler(Slots(0))
        self._totals = Totals()
        self._told: Stats | None = None  # to the observer
        self.admission = Admission(0, config.max_waiting)
        self._holds: set[Hold] = set()
        self._ids = itertools.count()
        self._prepare = background_pool(PREPARE_THREADS, "prepare")
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)

    # --- called from any thread or loop ------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def wait_until_settled(self, timeout: float | None = None) -> State:
        """Block until the model is loaded or has failed to."""
        self._settled.wait(timeout)
        return self.state

    @property
    def device(self) -> str | None:
        return str(self.runner.device) if self.runner else None

    @property
    def dtype(self) -> str | None:
        return str(self.runner.dtype).removeprefix("torch.") if self.runner else None

    @property
    def bounds(self) -> PixelBounds:
        """The checkpoint's own bounds on picture sizes. Raises EngineUnavailable until it is loaded."""
        self._require_ready()
        assert self.processor is not None
        return self.processor.bounds

    @property
    def defaults(self) -> SamplingParams:
        """What the checkpoint's generation_config says for a request that says nothing. Raises EngineUnavailable."""
        self._require_ready()
        assert self.processor is not None
        own = self.processor.generation
        penalty = own.repetition_penalty or 1.0
        if not own.do_sample:
            return SamplingParams(repetition_penalty=penalty)
        return SamplingParams(
            temperature=1.0 if own.temperature is None else own.temperature,
            top_p=1.0 if own.top_p is None else own.top_p,
            top_k=own.top_k or 0,
            min_p=own.min_p or 0.0,
            repetition_penalty=penalty,
        )

    def memory_used_mb(self) -> float:
        """MiB; 0 until the model is loaded."""
        return self.runner.memory_used_mb() if self.runner else 0.0

    def stats(self) -> Stats:
        scheduler = self._scheduler
        under_way = len(scheduler.reading) + len(scheduler.running)
        slots = scheduler.slots
        usage = 1 - slots.free / slots.count if slots.count else 0.0
        waiting = max(0, self.admission.inside - under_way)
        return Stats(under_way, waiting, slots.free, usage, replace(self._totals))

    def hold(self) -> Hold:
        """For an answer of several prompts, or one whose pictures are still to come. Raises EngineUnavailable."""
        self._require_ready()
        hold = Hold(self)
        self._holds.add(hold)
        return hold

    def let_go(self, hold: Hold) -> None:
        self._holds.discard(hold)
        self._inbox.put(lambda: None)  # wakes a thread that waits for it

    async def submit(
        self,
        messages: List[dict[str, Any]],
        pictures: List[Image.Image],
        params: SamplingParams,
        bounds: List[PixelBounds] | None = None,
        hold: Hold | None = None,
    ) -> Generation:
        """Queue one request; `bounds` of each picture overrule the checkpoint's own; `hold`: what it is part of.

        Raises InvalidRequest, QueueFull, EngineUnavailable.
        """
        return (await self.submit_all(messages, pictures, [params], bounds, hold))[0]

    async def submit_all(
        self,
        messages: List[dict[str, Any]],
        pictures: List[Image.Image],
        params: List[SamplingParams],
        bounds: List[PixelBounds] | None = None,
        hold: Hold | None = None,
    ) -> list[Generation]:
        """Queue one prompt, made once, for several answers: all of them or, with an exception as `submit`, none."""
        self._require_ready(hold)
        self.admission.admit(len(params), follows=hold is not None and hold.admitted)
        waiting = len(params)  # admitted and not yet in the hands of the engine's thread
        generations: list[Generation] = []
        try:
            loop = asyncio.get_running_loop()
            prompt = await loop.run_in_executor(self._prepare, self._prepare_prompt, messages, pictures, bounds)
            self._require_ready(hold)  # its time may have run out meanwhile
            grammars = await loop.run_in_executor(self._prepare, self._compile, params)
            for own, grammar in zip(params, grammars, strict=True):
                generations.append(self._enqueue(prompt, own, grammar, loop, hold))
                waiting -= 1
        except BaseException:
            for generation in generations:
                generation.abort()
            self.admission.leave(waiting)
            raise
        if hold is not None:
            hold.admitted = True
        return generations

    async def tokenize(
        self,
        messages: List[dict[str, Any]],
        pictures: List[Image.Image],
        bounds: List[PixelBounds] | None = None,
    ) -> list[int]:
        """The prompt that `submit` would make of them, placeholders of pictures included. Raises as `submit`."""
        self._require_ready()
        loop = asyncio.get_running_loop()
        prompt = await loop.run_in_executor(self._prepare, self._prepare_prompt, messages, pictures, bounds)
        return prompt.input_ids

    def encode(self, text: str) -> list[int]:
        """Token ids of a bare text. Raises EngineUnavailable."""
        self._require_ready()
        assert self.processor is not None
        ids: list[int] = self.processor.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def token_bytes(self, token: int) -> bytes:
        """What a token contributes to the text, in UTF-8; empty for one that the tokenizer does not know."""
        assert self.processor is not None
        return token_bytes(self.processor.tokenizer, token)

    def decode(self, tokens: List[int]) -> str:
        """The text of token ids, control tokens included. Raises EngineUnavailable, InvalidRequest."""
        self._require_ready()
        assert self.processor is not None
        self._check_ids(tokens, "tokens")
        text: str = self.processor.tokenizer.decode(list(tokens), skip_special_tokens=False)
        return text

    def abort(self, sequence: Sequence) -> None:
        self._inbox.put(lambda: self._finish(sequence, None))

    def shutdown(self, grace: float) -> None:
        """Take no more requests, let running ones finish for `grace` seconds, end the rest, stop the thread."""
        if self.state in ("loading", "ready"):
            self.state = "draining"
        self._inbox.put(lambda: None)  # wakes an idle thread
        self._thread.join(grace)
        if self._thread.is_alive():
            self._holds.clear()
            self._inbox.put(lambda: self._end_all(EngineUnavailable("the server is shutting down")))
            self._thread.join(LAST_STEP_SECONDS)
        self._prepare.shutdown(wait=False)
        if self.structures is not None:
            self.structures.shutdown()

    # --- from messages to a sequence ---------------------------------------------------------------------------------

    def _require_ready(self, hold: Hold | None = None) -> None:
        reasons = {
            "loading": "the model is still loading",
            "draining": "the server is shutting down",
            "stopped": "the server is shutting down",
            "failed": f"the model could not be loaded: {self.error}",
            "dead": f"the engine stopped working: {self.error}",
        }
        if self.state != "ready" and not (self.state == "draining" and hold in self._holds):
            raise EngineUnavailable(reasons[self.state])

    def _prepare_prompt(
        self, messages: List[dict[str, Any]], pictures: List[Image.Image], bounds: List[PixelBounds] | None = None
    ) -> "ModelInput":
        assert self.processor is not None
        try:
            prompt = self.processor.prepare(messages, pictures, bounds)
        except PromptError as error:
            raise InvalidRequest(str(error), "messages") from error
        length, limit = len(prompt.input_ids), self.config.max_model_len
        if length >= limit:
            raise InvalidRequest(
                f"the prompt has {length} tokens, pictures included; this model's context is {limit} tokens and must "
                "leave room for an answer: send fewer or smaller pictures, or less text",
                "messages",
            )
        return prompt

    def _compile(self, params: List[SamplingParams]) -> "list[Grammar | None]":
        """The grammar of each answer, where it must follow one. Raises InvalidRequest."""
        assert self.structures is not None
        for own in params:
            self._check_ids(own.logit_bias, "logit_bias")
        return [self.structures.compile(own.structure) if own.structure else None for own in params]

    def _check_ids(self, ids: Iterable[int], param: str) -> None:
        assert self.processor is not None
        size = self.processor.config.text_config.vocab_size
        wrong = next((token for token in ids if not 0 <= token < size), None)
        if wrong is not None:
            raise InvalidRequest(f"{param} names the token {wrong}; this model's are 0 to {size - 1}", param)

    def _enqueue(
        self,
        prompt: "ModelInput",
        params: SamplingParams,
        grammar: "Grammar | None",
        loop: asyncio.AbstractEventLoop,
        hold: Hold | None,
    ) -> Generation:
        assert self.processor is not None
        room = self.config.max_model_len - len(prompt.input_ids)
        max_tokens = room if params.max_tokens is None else min(params.max_tokens, room)
        text = Detokenizer(
            self.processor.tokenizer,
            params.stop,
            skip_special_tokens=params.skip_special_tokens,
            min_tokens=params.min_tokens,
        )
        ends = self.processor.eos_token_ids
        generation = Generation(self, len(prompt.input_ids))
        deliver = generation._events.put_nowait
        sequence = Sequence(next(self._ids), prompt, params, max_tokens, text, ends, deliver, loop, grammar)
        generation._sequence = sequence
        self._require_ready(hold)  # the thread may have gone while the prompt was made
        self._inbox.put(lambda: self._scheduler.add(sequence))
        if self.state in ("dead", "stopped"):  # went after the check: nobody will empty the inbox again
            raise EngineUnavailable("the engine stopped working")
        return generation

    # --- on the engine's thread --------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            self._load()
        except BaseException as error:
            self._fail("failed", error)
            return
        try:
            while self._take_inbox():
                self._step()
            self.state = "stopped"
        except BaseException as error:
            self._fail("dead", error)

    def _load(self) -> None:
        started = time.monotonic()
        from engine.model_runner import ModelRunner
        from engine.structured import Structures
        from models.paddleocr_vl.processor import Processor

        self.processor = Processor(self.config.model)
        longest = self.processor.config.text_config.max_position_embeddings
        if self.config.max_model_len > longest:
            raise ValueError(
                f"MAX_MODEL_LEN is {self.config.max_model_len}; this checkpoint's positions end at {longest}"
            )
        self.runner = ModelRunner(self.config, self.processor)
        vocabulary = self.processor.config.text_config.vocab_size
        self.structures = Structures(self.processor.tokenizer, vocabulary, self.processor.eos_token_ids)
        self._reset(self.runner)
        self._warm_up()
        self._reset(self.runner)
        logger.info(
            "Model %s ready in %.1f s: %s, %s, %d slots of %d tokens",
            self.config.model,
            time.monotonic() - started,
            self.device,
            self.dtype,
            self.runner.slots,
            self.config.max_model_len,
        )
        if self.state == "loading":
            self.state = "ready"
        self._settled.set()

    def _reset(self, runner: "ModelRunner") -> None:
        """Nothing runs or waits, and nothing is kept of what did."""
        self._scheduler = Scheduler(Slots(runner.slots), runner.most_tokens)
        self.admission = Admission(runner.slots, self.config.max_waiting)
        self._totals = runner.prefill.totals = Totals()
        runner.pictures.clear()

    def _warm_up(self) -> None:
        """Answer one small request, picture included, so that readiness means that the model has worked."""
        assert self.processor is not None
        prompt = self._prepare_prompt(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": OCR}]}],
            [Image.new("RGB", (56, 28), "white")],
            [self.processor.bounds._replace(min_pixels=1)],  # scaled up to the model's least, it would take a second
        )
        events: list[TokenEvent] = []
        text = Detokenizer(self.processor.tokenizer)
        ends = self.processor.eos_token_ids
        sequence = Sequence(-1, prompt, SamplingParams(), 2, text, ends, events.append, loop=None)
        self.admission.admit(1)
        self._scheduler.add(sequence)
        while not self._scheduler.idle:
            self._step()
        if events[-1].error is not None:
            raise events[-1].error

    def _take_inbox(self) -> bool:
        """Carry out what came in; waits while there is nothing to do. False: drained, the thread may end."""
        while True:
            try:
                waiting = self.state == "ready" or bool(self._holds)
                if idle := self._scheduler.idle:
                    self._report()  # whoever left last was not in a step
                command = self._inbox.get(block=idle and waiting)
            except queue.Empty:
                return not self._scheduler.idle or self.state != "draining"
            command()

    def _step(self) -> None:
        assert self.runner is not None
        step = self._scheduler.schedule()
        queued = self._queued(step.reading)
        events = [(sequence, self._accept(sequence, outcome)) for sequence, outcome in self.runner.run(step)]
        self._report(queued, self._gaps(events))
        self._publish(events)

    def _queued(self, reading: List[Sequence]) -> list[float]:
        """How long those who have just got a slot had waited."""
        now = time.monotonic()
        new = [sequence for sequence in reading if sequence.scheduled_at is None]
        for sequence in new:
            sequence.scheduled_at = now
        return [now - sequence.submitted_at for sequence in new]

    def _gaps(self, events: List[tuple[Sequence, TokenEvent]]) -> list[float]:
        """Count a step's tokens; the times since the tokens before them."""
        now = time.monotonic()
        gaps = []
        for sequence, event in events:
            if event.token is None:
                continue
            if sequence.token_at is None:
                self._totals.prompt_tokens += len(sequence.prompt.input_ids)
            else:
                gaps.append(now - sequence.token_at)
            sequence.token_at = now
            self._totals.generation_tokens += 1
        return gaps

    def _report(self, queued: List[float] = (), gaps: List[float] = ()) -> None:
        """Tell the observer, whose faults are no request's. What happens before the model is ready is not told."""
        if self.observer is None or self.state == "loading":
            return
        stats = self.stats()
        if stats == self._told and not queued and not gaps:
            return
        self._told = stats
        try:
            self.observer(Report(stats, queued, gaps))
        except Exception:
            logger.exception("What the engine does is not counted any more")
            self.observer = None

    def _accept(self, sequence: Sequence, outcome: Token | GenerationFailed) -> TokenEvent:
        """Take a sequence's next token, or its failure, and say what came of it."""
        if isinstance(outcome, GenerationFailed):
            return self._end(sequence, "", error=outcome)
        sequence.tokens.append(outcome.id)
        if outcome.id in sequence.end_tokens and not sequence.params.ignore_eos:
            return self._end(sequence, sequence.text.flush(), outcome, end_token=True, finish_reason="stop")
        try:
            if sequence.grammar is not None:
                sequence.grammar.accept(outcome.id)
        except GenerationFailed as error:
            return self._end(sequence, "", outcome, error=error)
        text = sequence.text.push(outcome.id)
        stop = sequence.text.stopped
        if stop is not None:
            return self._end(sequence, text, outcome, finish_reason="stop", stop_reason=stop)
        if (keep := self._looped(sequence, text)) is not None:
            rest = sequence.text.flush()
            self._totals.repetition_cuts += 1
            loop: dict[str, Any] = {"finish_reason": "length", "stop_reason": REPETITION, "keep_chars": keep}
            return self._end(sequence, text + rest, outcome, **loop)
        if sequence.grammar is not None and sequence.grammar.finished:
            return self._end(sequence, text + sequence.text.flush(), outcome, finish_reason="stop")
        if len(sequence.tokens) >= sequence.max_tokens:
            return self._end(sequence, text + sequence.text.flush(), outcome, finish_reason="length")
        return _event(sequence, text, outcome)

    def _looped(self, sequence: Sequence, text: str) -> int | None:
        """Characters of the answer before its repeats, once it goes round in circles."""
        if sequence.repetition is None:
            return None
        before = sequence.text_lengths[-1] if sequence.text_lengths else 0
        sequence.text_lengths.append(before + len(text))
        kept = sequence.repetition.push(sequence.tokens[-1])
        return None if kept is None else sequence.text_lengths[kept - 1]

    def _end(self, sequence: Sequence, text: str, token: Token | None = None, **outcome: Any) -> TokenEvent:
        self._forget(sequence, failed="error" in outcome)
        self.admission.count_finished()
        return _event(sequence, text, token, **outcome)

    def _finish(self, sequence: Sequence, error: EngineError | None) -> None:
        """End a sequence from outside a step, with an error event or, for an abort, without a word."""
        if sequence not in self._scheduler:
            return
        self._forget(sequence, failed=error is not None)
        if error is not None:
            self._publish([(sequence, _event(sequence, "", error=error))])

    def _forget(self, sequence: Sequence, *, failed: bool) -> None:
        self._scheduler.remove(sequence, failed=failed)
        self.admission.leave()

    def _publish(self, events: List[tuple[Sequence, TokenEvent]]) -> None:
        """Hand the events of one step over, in one call for each event loop."""
        loops: dict[Any, list[tuple[Sequence, TokenEvent]]] = {}
        for sequence, event in events:
            loops.setdefault(sequence.loop, []).append((sequence, event))
        for loop, batch in loops.items():
            if loop is None:
                _deliver(batch)
                continue
            try:
                loop.call_soon_threadsafe(_deliver, batch)
            except RuntimeError:  # the loop is closed: nobody is there to read
                for sequence, event in batch:
                    if not event.last:
                        self._finish(sequence, None)

    def _end_all(self, error: EngineError) -> None:
        for sequence in list(self._scheduler):
            self._finish(sequence, error)

    def _fail(self, state: State, error: BaseException) -> None:
        """Tell everybody who waits, and whoever started the engine."""
        logger.error("The engine's thread ended: %s", error, exc_info=error)
        self.error, self.state = error, state
        while not self._inbox.empty():  # submissions that no step has seen
            self._inbox.get()()
        self._end_all(EngineUnavailable(f"the engine stopped working: {error}"))
        self._report()
        self._settled.set()
        if self._on_failure is not None:
            self._on_failure(error)


def _event(sequence: Sequence, text: str, token: Token | None = None, **outcome: Any) -> TokenEvent:
    return TokenEvent(text, len(sequence.tokens), token, cached_tokens=sequence.reused, **outcome)


def _deliver(events: List[tuple[Sequence, TokenEvent]]) -> None:
    for sequence, event in events:
        sequence.deliver(event)
