"""The engine: submit, abort, stats. Owns the one thread that touches the model, loading included.

It knows nothing of HTTP. Requests come in through an inbox that the thread empties between the core's steps; what comes
back crosses to the caller's event loop once a step. torch and transformers are imported on the thread: that takes
seconds, in which the server can already answer for its health.
"""

import asyncio
import logging
import os
import queue
import threading
import time
from collections import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from engine.admission import Admission
from engine.allocator import share_heaps, trim
from engine.config import EngineConfig
from engine.core import Core
from engine.errors import DeadlineExceeded, EngineError, EngineUnavailable
from engine.fair_queue import FairSemaphore
from engine.handles import Generation, Hold
from engine.preparation import Preparation
from engine.request import Deadline, Job, SamplingParams, Sequence, TokenEvent
from engine.stats import Report, Stats, Totals
from engine.threads import background_pool
from engine.watchdog import Watchdog
from models.protocol import PixelBounds

if TYPE_CHECKING:
    from engine.model_runner import ModelRunner
    from models.paddleocr_vl.processor import Processor

logger = logging.getLogger(__name__)

State = Literal["loading", "ready", "draining", "stopped", "failed", "dead"]
"""failed: the model could not be loaded. dead: the thread broke afterwards."""

LAST_STEP_SECONDS = 5.0  # for the step under way, once everybody's time is up
PREPARE_THREADS = 2  # image work beside the model's own threads
# On a CPU, oneDNN and PyTorch above it keep 1024 kernels each, of 0.3 MB or more. Every length of a prompt takes
# some of its own, and hardly one comes again: after 400 lengths, 700 MB. A new one is made in 1 ms, and among these few
# those of decoding stay, one for each kind of layer and size of batch.
KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
KERNELS_KEPT = 128
REST_SECONDS = 1.0  # without a request, before memory is handed back
IMAGES_AT_ONCE = 4  # requests whose images are opened or prepared; the others take turns


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
        self.core: Core | None = None
        self.observer: Callable[[Report], None] | None = None
        self._on_failure = on_failure
        self._preparation: Preparation | None = None
        self._inbox: queue.SimpleQueue[Callable[[Core], None]] = queue.SimpleQueue()
        self._told: Stats | None = None  # to the observer
        self.admission = self._new_admission(0)
        self._holds: set[Hold] = set()
        self._prepare = background_pool(PREPARE_THREADS, "prepare")
        self.image_turns = FairSemaphore(IMAGES_AT_ONCE)
        self._watchdog = Watchdog()
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)

    # --- called from any thread or loop ------------------------------------------------------------------------------

    def start(self) -> None:
        share_heaps()
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
        """The checkpoint's own bounds on image sizes. Raises EngineUnavailable until it is loaded."""
        return self._require_ready().bounds

    @property
    def defaults(self) -> SamplingParams:
        """What the checkpoint's generation_config says for a request that says nothing. Raises EngineUnavailable."""
        return self._require_ready().defaults

    def memory_used_mb(self) -> float:
        """MiB; 0 until the model is loaded."""
        return self.runner.memory_used_mb() if self.runner else 0.0

    def memory_planned_mb(self) -> float | None:
        """MiB; None until the model is loaded."""
        return round(self.runner.plan.total / 2**20, 1) if self.runner else None

    @property
    def slots(self) -> int:
        return self.core.scheduler.slots.count if self.core else 0

    def stats(self) -> Stats:
        return self.core.stats() if self.core else Stats(0, 0, 0, 0, 0.0, 0, Totals())

    def hold(self, count: int = 1, client: str = "", deadline: Deadline | None = None) -> Hold:
        """Let in an answer of several prompts, or one whose images are still to come: its first `count` prompts.

        Raises InvalidRequest, QueueFull, EngineUnavailable.
        """
        self._require_ready()
        hold = Hold(
            places=count,
            client=client,
            deadline=deadline,
            admission=self.admission,
            image_turns=self.image_turns,
            on_release=self._drop,
        )
        self.admission.admit(hold, count)
        self._holds.add(hold)
        return hold

    def _drop(self, hold: Hold) -> None:
        self._holds.discard(hold)
        self._inbox.put(lambda core: core.abandon(hold))  # also wakes a thread that waits for it

    async def submit(
        self,
        messages: abc.Sequence[dict[str, Any]],
        images: abc.Sequence[Image.Image],
        params: SamplingParams,
        bounds: abc.Sequence[PixelBounds] | None = None,
        hold: Hold | None = None,
    ) -> Generation:
        """Queue one request; `bounds` of each image overrule the checkpoint's own; `hold`: what it is part of.

        Raises InvalidRequest, QueueFull, DeadlineExceeded, EngineUnavailable.
        """
        return (await self.submit_all(messages, images, [params], bounds, hold))[0]

    async def submit_all(
        self,
        messages: abc.Sequence[dict[str, Any]],
        images: abc.Sequence[Image.Image],
        params: abc.Sequence[SamplingParams],
        bounds: abc.Sequence[PixelBounds] | None = None,
        hold: Hold | None = None,
    ) -> list[Generation]:
        """Queue one prompt, made once, for several answers: all of them or, with an exception as `submit`, none."""
        job = hold or Job()
        preparation = self._require_ready(job)
        waiting, held = len(params), self._admit(job, len(params))  # not yet handed to the engine's thread
        generations: list[Generation] = []
        try:
            more = preparation.pixel_bytes(images, bounds)
            self.admission.reserve_bytes(job, more)
            held += more
            share = held // len(params)
            loop = asyncio.get_running_loop()
            async with self.image_turns.turn(job.client, follows=job.begun):
                prompt = await loop.run_in_executor(self._prepare, preparation.prompt, messages, images, bounds)
                self._require_ready(job)  # its time may have run out meanwhile
                grammars = await loop.run_in_executor(self._prepare, preparation.grammars, params)
            for own, grammar in zip(params, grammars, strict=True):
                events = asyncio.Queue[TokenEvent]()
                sequence = preparation.sequence(prompt, own, grammar, job, events.put_nowait, loop)
                sequence.follows, sequence.image_bytes = job.begun, share
                generation = Generation(sequence=sequence, events=events, abort=self.abort)
                self._enqueue(sequence)
                generations.append(generation)
                waiting, held = waiting - 1, held - share
        except BaseException:
            for generation in generations:
                generation.abort()
            self.admission.leave(job, waiting)
            raise
        finally:
            self.admission.release_bytes(job, held)
        job.begun = True
        return generations

    def _admit(self, job: Job, count: int) -> int:
        """Admit `count` prompts of an answer, unless its hold has places for them; bytes that it reserved for images.

        Raises InvalidRequest, QueueFull.
        """
        if not isinstance(job, Hold):
            self.admission.admit(job, count)
            return 0
        if not job.spend_places(count):
            self.admission.admit(job, count)
        return job.spend_bytes()

    def _enqueue(self, sequence: Sequence) -> None:
        self._require_ready(sequence.job)  # the thread may have gone while the prompt was made
        self._inbox.put(lambda core: core.scheduler.add(sequence))
        if self.state in ("dead", "stopped"):  # went after the check: nobody will empty the inbox again
            raise EngineUnavailable("the engine stopped working")

    async def tokenize(
        self,
        messages: abc.Sequence[dict[str, Any]],
        images: abc.Sequence[Image.Image],
        bounds: abc.Sequence[PixelBounds] | None = None,
    ) -> list[int]:
        """The prompt that `submit` would make of them, placeholders of images included. Raises as `submit`."""
        preparation = self._require_ready()
        loop = asyncio.get_running_loop()
        prompt = await loop.run_in_executor(self._prepare, preparation.prompt, messages, images, bounds)
        return prompt.input_ids

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a bare text. Raises EngineUnavailable."""
        return self._require_ready().encode(text)

    def token_bytes(self, token: int) -> bytes:
        """What a token contributes to the text, in UTF-8; empty for one that the tokenizer does not know."""
        assert self._preparation is not None
        return self._preparation.token_bytes(token)

    def decode_tokens(self, tokens: abc.Sequence[int]) -> str:
        """The text of token ids, control tokens included. Raises EngineUnavailable, InvalidRequest."""
        return self._require_ready().decode(tokens)

    def abort(self, sequence: Sequence) -> None:
        self._inbox.put(lambda core: core.finish(sequence, None))

    def shutdown(self, grace: float) -> None:
        """Take no more requests, let running ones finish for `grace` seconds, end the rest, stop the thread."""
        if self.state in ("loading", "ready"):
            self.state = "draining"
        self._inbox.put(lambda _: None)  # wakes an idle thread
        self._thread.join(grace)
        if self._thread.is_alive():
            error = EngineUnavailable("the server is shutting down")
            self._end_holds(error)
            self._inbox.put(lambda core: core.end_all(error))
            self._thread.join(LAST_STEP_SECONDS)
        self._prepare.shutdown(wait=False)
        if self._preparation is not None:
            self._preparation.close()

    @property
    def _reasons(self) -> "dict[State, str]":
        return {
            "loading": "the model is still loading",
            "draining": "the server is shutting down",
            "stopped": "the server is shutting down",
            "failed": f"the model could not be loaded: {self.error}",
            "dead": f"the engine stopped working: {self.error}",
        }

    def _require_ready(self, job: Job | None = None) -> Preparation:
        """What requests are prepared with. Raises EngineUnavailable, or DeadlineExceeded of the answer's own."""
        state = self.state
        if state != "ready" and not (state == "draining" and job in self._holds):
            raise EngineUnavailable(self._reasons[state])
        if job is not None and job.deadline is not None and time.monotonic() >= job.deadline.at:
            raise DeadlineExceeded(job.deadline.seconds)
        assert self._preparation is not None
        return self._preparation

    # --- on the engine's thread --------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            core = self._load()
        except BaseException as error:
            self._fail("failed", error)
            return
        try:
            while self._take_inbox(core):
                core.step()
            self.state = "stopped"
        except BaseException as error:
            self._fail("dead", error)
        finally:
            self._watchdog.close()

    def _load(self) -> Core:
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
        structures = Structures(self.processor.tokenizer, vocabulary, self.processor.eos_token_ids)
        self._preparation = Preparation(self.processor, structures, self.config.max_model_len)
        self._reset(self.runner, self._preparation).try_out()
        core = self._reset(self.runner, self._preparation)
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
        return core

    def _reset(self, runner: "ModelRunner", preparation: Preparation) -> Core:
        """A new core: nothing runs or waits, and nothing is kept of what did."""
        runner.images.clear()
        self.admission = self._new_admission(runner.slots)
        self.core = Core(runner, preparation, self.admission, self._watchdog, self._report)
        return self.core

    def _new_admission(self, slots: int) -> Admission:
        return Admission(slots, self.config.max_waiting, self.config.max_waiting_bytes)

    def _take_inbox(self, core: Core) -> bool:
        """Carry out what came in; waits while there is nothing to do. False: drained, the thread may end."""
        while True:
            try:
                waiting = self.state == "ready" or bool(self._holds)
                if idle := core.scheduler.idle:
                    self._report()  # whoever left last was not in a step
                command = self._wait() if idle and waiting else self._inbox.get(block=False)
            except queue.Empty:
                return not core.scheduler.idle or self.state != "draining"
            command(core)

    def _wait(self) -> Callable[[Core], None]:
        """What comes in next; a while without anything is time to hand back memory that requests have left free."""
        try:
            return self._inbox.get(timeout=REST_SECONDS)
        except queue.Empty:
            trim()
            return self._inbox.get()

    def _report(self, queued: abc.Sequence[float] = (), gaps: abc.Sequence[float] = ()) -> None:
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

    def _end_holds(self, error: EngineError) -> None:
        """Tell answers whose images are still to come, or whose pages are; from any thread."""
        for hold in list(self._holds):
            hold.end(error)
        self._holds.clear()

    def _fail(self, state: State, error: BaseException) -> None:
        """Tell everybody who waits, and whoever started the engine."""
        logger.error("The engine's thread ended: %s", error, exc_info=error)
        self.error, self.state = error, state
        if self.core is not None:  # else nobody was let in
            while not self._inbox.empty():  # submissions that no step has seen
                self._inbox.get()(self.core)
            ended = EngineUnavailable(f"the engine stopped working: {error}")
            self._end_holds(ended)
            self.core.end_all(ended)
        self._report()
        self._settled.set()
        if self._on_failure is not None:
            self._on_failure(error)
