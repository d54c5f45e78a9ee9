"""The engine: submit, abort, stats. Owns the one thread that touches the model, loading included.

It knows nothing of HTTP. Requests come in through an inbox that the thread empties between steps; what comes back
crosses to the caller's event loop once a step. torch and transformers are imported on the thread: that takes seconds,
in which the server can already answer for its health.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from collections.abc import Sequence as List
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from PIL import Image

from engine.admission import Admission
from engine.config import EngineConfig
from engine.detokenizer import Detokenizer, token_bytes
from engine.errors import (
    DeadlineExceeded,
    EngineError,
    EngineUnavailable,
    GenerationFailed,
    InvalidRequest,
    UnexpectedFailure,
)
from engine.request import REPETITION, Deadline, Job, SamplingParams, Sequence, Times, Token, TokenEvent
from engine.scheduler import Scheduler
from engine.slots import Slots
from engine.threads import background_pool
from engine.totals import Totals
from engine.turns import Turnstile
from engine.watchdog import Watchdog
from models.paddleocr_vl.prompts import OCR, PixelBounds, PromptError

if TYPE_CHECKING:
    from engine.model_runner import ModelRunner
    from engine.structured import Grammar, Structures
    from models.paddleocr_vl.processor import ModelInput, Processor

logger = logging.getLogger(__name__)

T = TypeVar("T")

State = Literal["loading", "ready", "draining", "stopped", "failed", "dead"]
"""failed: the model could not be loaded. dead: the thread broke afterwards."""

LAST_STEP_SECONDS = 5.0  # for the step under way, once everybody's time is up
PREPARE_THREADS = 2  # picture work beside the model's own threads
# On a CPU, oneDNN and PyTorch above it keep 1024 kernels each, of 0.3 MB or more. Every length of a prompt takes
# some of its own, and hardly one comes again: after 400 lengths, 700 MB. A new one is made in 1 ms, and among these few
# those of decoding stay, one for each kind of layer and size of batch.
KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
KERNELS_KEPT = 128
PICTURES_AT_ONCE = 4  # requests whose pictures are opened or prepared; the others take turns


@dataclass(frozen=True)
class Stats:
    running: int
    waiting: int  # for a slot, or for their pictures to come and be prepared
    waiting_bytes: int  # of the pictures that they wait with
    free_slots: int
    cache_usage: float  # share of the slots that are taken: each holds one request, however long
    picture_cache_bytes: int
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

    @property
    def times(self) -> Times:
        """So far. Read beside the thread that writes them: a time may be there whose event is still to come."""
        s = self._sequence
        assert s is not None
        return Times(s.submitted_at, s.scheduled_at, s.encoded_at, s.began_at, s.token_at)

    def abort(self) -> None:
        """Give up: takes effect no later than the end of the step already launched. Harmless once finished."""
        if self._sequence is not None:
            self._engine.abort(self._sequence)


class Hold(Job):
    """An answer under way: a draining engine goes on, and takes its further prompts, until it is released.

    By then nothing is left of it: neither places, nor bytes, nor prompts that wait or run.
    """

    def __init__(self, engine: "Engine", places: int, client: str, deadline: Deadline | None) -> None:
        super().__init__(client, deadline)
        self.places = places  # let in for prompts that are still to come
        self.picture_bytes = 0  # that go to the next prompts
        self.loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[EngineError] = self.loop.create_future()
        """Why the engine takes nothing more of it, although it is not released."""
        self._engine = engine
        self._timer: asyncio.TimerHandle | None = None
        if deadline is not None:
            late = DeadlineExceeded(deadline.seconds)
            self._timer = self.loop.call_later(deadline.at - time.monotonic(), self._end, late)

    def take(self, count: int) -> None:
        """Pictures of its next prompts are in memory, in so many bytes, until those are read. Raises QueueFull."""
        self._engine.admission.take(self, count)
        self.picture_bytes += count

    def turn(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Its turn to open pictures."""
        return self._engine.desk.turn(self.client, follows=self.begun)

    async def unless_ended(self, work: "asyncio.Task[T]") -> T:
        """The outcome of `work`, which is cancelled where the answer is over before. Raises what ended it, too."""
        first: set[asyncio.Future[Any]] = {work, self.ended}
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise self.ended.result()
            return work.result()
        finally:
            work.cancel()

    def release(self) -> None:
        """Harmless a second time. Called on its event loop."""
        if self._timer is not None:
            self._timer.cancel()
        self._engine.let_go(self)

    def end(self, error: EngineError) -> None:
        """From any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there
            self.loop.call_soon_threadsafe(self._end, error)

    def _end(self, error: EngineError) -> None:
        if not self.ended.done():
            self.ended.set_result(error)


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
        self.admission = self._new_admission(0)
        self._holds: set[Hold] = set()
        self._ids = itertools.count()
        self._prepare = background_pool(PREPARE_THREADS, "prepare")
        self.desk = Turnstile(PICTURES_AT_ONCE)
        self._watchdog = Watchdog()
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
    def trouble(self) -> str | None:
        """Why it serves nobody, or nobody at present; None while all is well."""
        if self.state != "ready":
            return self._reasons[self.state]
        stuck = self._watchdog.stuck
        return stuck and f"the engine is stuck: {stuck}"

    @property
    def lost(self) -> bool:
        """Only a new process helps: the model could not be loaded, the thread died, or is stuck for minutes."""
        return self.state in ("failed", "dead") or self._watchdog.lost

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

    def memory_planned_mb(self) -> float | None:
        """MiB; None until the model is loaded."""
        return round(self.runner.plan.total / 2**20, 1) if self.runner else None

    @property
    def slots(self) -> int:
        return self._scheduler.slots.count

    def stats(self) -> Stats:
        scheduler = self._scheduler
        under_way = len(scheduler.reading) + len(scheduler.running)
        slots = scheduler.slots
        usage = 1 - slots.free / slots.count if slots.count else 0.0
        waiting = max(0, self.admission.inside - under_way)
        kept = self.runner.pictures.used if self.runner else 0
        return Stats(under_way, waiting, self.admission.bytes, slots.free, usage, kept, replace(self._totals))

    def hold(self, count: int = 1, client: str = "", deadline: Deadline | None = None) -> Hold:
        """Let in an answer of several prompts, or one whose pictures are still to come: its first `count` prompts.

        Raises InvalidRequest, QueueFull, EngineUnavailable.
        """
        self._require_ready()
        hold = Hold(self, count, client, deadline)
        self.admission.admit(hold, count)
        self._holds.add(hold)
        return hold

    def let_go(self, hold: Hold) -> None:
        self._holds.discard(hold)
        self.admission.leave(hold, hold.places)
        self.admission.give_back(hold, hold.picture_bytes)
        hold.places = hold.picture_bytes = 0
        self._inbox.put(lambda: self._abandon(hold))  # wakes a thread that waits for it, too

    async def submit(
        self,
        messages: List[dict[str, Any]],
        pictures: List[Image.Image],
        params: SamplingParams,
        bounds: List[PixelBounds] | None = None,
        hold: Hold | None = None,
    ) -> Generation:
        """Queue one request; `bounds` of each picture overrule the checkpoint's own; `hold`: what it is part of.

        Raises InvalidRequest, QueueFull, DeadlineExceeded, EngineUnavailable.
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
        job = hold or Job()
        self._require_ready(job)
        waiting, held = self._let_in(job, len(params))  # not yet in the hands of the engine's thread
        generations: list[Generation] = []
        try:
            more = self._pixel_bytes(pictures, bounds)
            self.admission.take(job, more)
            held += more
            share = held // len(params)
            loop = asyncio.get_running_loop()
            async with self.desk.turn(job.client, follows=job.begun):
                prompt = await loop.run_in_executor(self._prepare, self._prepare_prompt, messages, pictures, bounds)
                self._require_ready(job)  # its time may have run out meanwhile
                grammars = await loop.run_in_executor(self._prepare, self._compile, params)
            for own, grammar in zip(params, grammars, strict=True):
                generations.append(self._enqueue(prompt, own, grammar, loop, job, share))
                waiting, held = waiting - 1, held - share
        except BaseException:
            for generation in generations:
                generation.abort()
            self.admission.leave(job, waiting)
            raise
        finally:
            self.admission.give_back(job, held)
        job.begun = True
        return generations

    def _let_in(self, job: Job, count: int) -> tuple[int, int]:
        """Prompts that are let in, and the bytes of their pictures: what was kept for them, or they come now."""
        if isinstance(job, Hold) and job.places >= count:
            job.places -= count
        else:
            self.admission.admit(job, count)
        held = 0
        if isinstance(job, Hold):
            held, job.picture_bytes = job.picture_bytes, 0
        return count, held

    def _pixel_bytes(self, pictures: List[Image.Image], bounds: List[PixelBounds] | None) -> int:
        """What the model input of pictures will take; 0 where it cannot be made, which the processor tells."""
        assert self.processor is not None
        try:
            return self.processor.pixel_bytes(pictures, bounds)
        except PromptError:
            return 0

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
            error = EngineUnavailable("the server is shutting down")
            self._end_holds(error)
            self._inbox.put(lambda: self._end_all(error))
            self._thread.join(LAST_STEP_SECONDS)
        self._prepare.shutdown(wait=False)
        if self.structures is not None:
            self.structures.shutdown()

    # --- from messages to a sequence ---------------------------------------------------------------------------------

    @property
    def _reasons(self) -> "dict[State, str]":
        return {
            "loading": "the model is still loading",
            "draining": "the server is shutting down",
            "stopped": "the server is shutting down",
            "failed": f"the model could not be loaded: {self.error}",
            "dead": f"the engine stopped working: {self.error}",
        }

    def _require_ready(self, job: Job | None = None) -> None:
        state = self.state
        if state != "ready" and not (state == "draining" and job in self._holds):
            raise EngineUnavailable(self._reasons[state])
        if job is not None and job.deadline is not None and time.monotonic() >= job.deadline.at:
            raise DeadlineExceeded(job.deadline.seconds)

    def _prepare_prompt(
        self, messages: List[dict[str, Any]], pictures: List[Image.Image], bounds: List[PixelBounds] | None = None
    ) -> "ModelInput":
        assert self.processor is not None
        self._check_length(messages)
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

    def _check_length(self, messages: List[dict[str, Any]]) -> None:
        """Refuse what cannot fit, before a tokenizer takes a minute over megabytes to find that out."""
        assert self.processor is not None
        limit = self.config.max_model_len
        characters = sum(len(part.get("text", "")) for message in messages for part in message["content"])
        if characters > limit * self.processor.longest_token or len(messages) > limit:
            raise InvalidRequest(
                f"the prompt has {len(messages)} messages of {characters} characters together, more than this model's "
                f"context of {limit} tokens can hold",
                "messages",
            )

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
        job: Job,
        picture_bytes: int,
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
        sequence = Sequence(next(self._ids), prompt, params, max_tokens, text, ends, deliver, loop, grammar, job)
        sequence.follows, sequence.picture_bytes = job.begun, picture_bytes
        generation._sequence = sequence
        self._require_ready(job)  # the thread may have gone while the prompt was made
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
        finally:
            self._watchdog.close()

    def _load(self) -> None:
        started = time.monotonic()
        for cache in KERNEL_CACHES:
            os.environ.setdefault(cache, str(KERNELS_KEPT))
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
        self._try_out()
        self._reset(self.runner)
        self._watchdog.watch()
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
        self.admission = self._new_admission(runner.slots)
        self._totals = runner.prefill.totals = Totals()
        runner.pictures.clear()

    def _new_admission(self, slots: int) -> Admission:
        return Admission(slots, self.config.max_waiting, self.config.max_waiting_bytes)

    def _try_out(self) -> None:
        """Have the model read a small picture and write two tokens. Raises what is wrong with it.

        At start, so that readiness means that the model has worked; later, where a step broke on what may have been
        the model or a request.
        """
        assert self.processor is not None
        assert self.runner is not None
        prompt = self._prepare_prompt(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": OCR}]}],
            [Image.new("RGB", (56, 28), "white")],
            [self.processor.bounds._replace(min_pixels=1)],  # scaled up to the model's least, it would take a second
        )
        text = Detokenizer(self.processor.tokenizer)
        ends = self.processor.eos_token_ids
        sequence = Sequence(-1, prompt, SamplingParams(), 2, text, ends, deliver=lambda _: None, loop=None)
        scheduler = Scheduler(self._scheduler.slots)  # by itself, in one of the free slots
        scheduler.add(sequence)
        while len(sequence.tokens) < 2:
            for _, outcome in self.runner.run(scheduler.schedule()):
                if isinstance(outcome, GenerationFailed):
                    raise outcome
                sequence.tokens.append(outcome.id)
        scheduler.remove(sequence, failed=True)

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
        self._end_late()
        step = self._scheduler.schedule()
        queued = self._queued(step.reading)
        with self._watchdog.step(str(step)):
            outcomes = self.runner.run(step)
        events = [(sequence, self._accepted(sequence, outcome)) for sequence, outcome in outcomes]
        self._report(queued, self._gaps(events))
        self._publish(events)
        if any(isinstance(outcome, UnexpectedFailure) for _, outcome in outcomes):
            with self._watchdog.step("trying the model out"):
                self._try_out()  # if the model is at fault and not the requests, this ends the thread

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
                sequence.began_at = now
                self._count_read(sequence)
                sequence.prompt = sequence.prompt.without_pixels()
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

    def _accepted(self, sequence: Sequence, outcome: Token | GenerationFailed) -> TokenEvent:
        try:
            return self._accept(sequence, outcome)
        except Exception:  # of what turns its tokens into text: nobody else's affair
            logger.exception("An answer cannot be written")
            return self._end(sequence, "", error=UnexpectedFailure())

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
        except (GenerationFailed, InvalidRequest) as error:
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
        self._count_read(sequence)
        self.admission.leave(sequence.job)

    def _count_read(self, sequence: Sequence) -> None:
        """Its pictures wait no longer: they have been read, or never will be."""
        self.admission.give_back(sequence.job, sequence.picture_bytes)
        sequence.picture_bytes = 0

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

    def _abandon(self, job: Job) -> None:
        for sequence in [one for one in self._scheduler if one.job is job]:
            self._finish(sequence, None)

    def _end_late(self) -> None:
        now = time.monotonic()
        for sequence in list(self._scheduler):
            deadline = sequence.job.deadline
            if deadline is not None and deadline.at <= now:
                self._finish(sequence, DeadlineExceeded(deadline.seconds))

    def _end_holds(self, error: EngineError) -> None:
        """Tell answers whose pictures are still to come, or whose pages are; from any thread."""
        for hold in list(self._holds):
            hold.end(error)
        self._holds.clear()

    def _end_all(self, error: EngineError) -> None:
        for sequence in list(self._scheduler):
            self._finish(sequence, error)

    def _fail(self, state: State, error: BaseException) -> None:
        """Tell everybody who waits, and whoever started the engine."""
        logger.error("The engine's thread ended: %s", error, exc_info=error)
        self.error, self.state = error, state
        while not self._inbox.empty():  # submissions that no step has seen
            self._inbox.get()()
        ended = EngineUnavailable(f"the engine stopped working: {error}")
        self._end_holds(ended)
        self._end_all(ended)
        self._report()
        self._settled.set()
        if self._on_failure is not None:
            self._on_failure(error)


def _event(sequence: Sequence, text: str, token: Token | None = None, **outcome: Any) -> TokenEvent:
    return TokenEvent(text, len(sequence.tokens), token, cached_tokens=sequence.reused, **outcome)


def _deliver(events: List[tuple[Sequence, TokenEvent]]) -> None:
    for sequence, event in events:
        sequence.deliver(event)
