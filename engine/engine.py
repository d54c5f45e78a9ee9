"""The engine as its callers see it: submit, hold, abort, stats. It knows nothing of HTTP.

Requests go to the inbox of the engine's thread (engine/loop.py); their events return to the caller's event loop once a
step.
"""

import asyncio
import time
from collections import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PIL import Image

from engine.admission import Admission
from engine.config import EngineConfig
from engine.core import Core
from engine.errors import DeadlineExceeded, EngineUnavailable
from engine.fair_queue import FairSemaphore
from engine.handles import Generation, Hold
from engine.looking import LayoutInfo, Looking, Upright
from engine.loop import Loop, State
from engine.preparation import Preparation
from engine.request import Deadline, Job, SamplingParams, Sequence, TokenEvent
from engine.stats import Report, Stats
from engine.threads import background_pool
from models.detection import SEGMENTATION, SEGMENTATION_LABELS, Detection
from models.protocol import WHOLE_BLOCKS, BlockLimits, InputProcessor, PixelBounds

if TYPE_CHECKING:
    from engine.model_runner import ModelRunner

PREPARE_THREADS = 2  # for images, alongside the model's own threads
IMAGES_AT_ONCE = 4  # requests whose images are opened or prepared at once; the others wait their turn


class Engine:
    """The continuous-batching server of one checkpoint. All methods may be called from any thread or event loop."""

    def __init__(self, config: EngineConfig, on_failure: Callable[[BaseException], None] | None = None) -> None:
        """`on_failure` is called on the engine's thread when the model cannot be loaded or the thread dies."""
        self.config = config
        self.admission = Admission(0, config.max_waiting, config.max_waiting_bytes)  # the loop learns the slots
        self.image_turns = FairSemaphore(IMAGES_AT_ONCE)
        self._holds: set[Hold] = set()
        self._prepare = background_pool(PREPARE_THREADS, "prepare")
        self.loop = Loop(config=config, admission=self.admission, holds=self._holds, on_failure=on_failure)
        self._looking = Looking(self.loop, self._prepare)

    def start(self) -> None:
        self.loop.start()

    def wait_until_settled(self, timeout: float | None = None) -> State:
        """Block until the model is loaded or has failed to load."""
        return self.loop.wait_until_settled(timeout)

    def shutdown(self, grace: float) -> None:
        """Accept no more requests, let running ones finish for `grace` seconds, end the rest, stop the thread."""
        self.loop.drain(grace)
        self._prepare.shutdown(wait=False)
        if self.loop.built is not None:
            self.loop.built.preparation.close()

    # --- how it is doing ----------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self.loop.state

    @property
    def error(self) -> BaseException | None:
        """What made it fail, if anything did."""
        return self.loop.error

    @property
    def trouble(self) -> str | None:
        """Why no request is served, for good or at present; None while all is well."""
        return self.loop.trouble

    @property
    def lost(self) -> bool:
        """Only a new process helps: the model could not be loaded, the thread died, or it is stuck for minutes."""
        return self.loop.lost

    @property
    def observer(self) -> Callable[[Report], None] | None:
        """Called on the engine's thread: after a step, before callers get its events, and when the engine goes idle."""
        return self.loop.observer

    @observer.setter
    def observer(self, observer: Callable[[Report], None] | None) -> None:
        self.loop.observer = observer

    def stats(self) -> Stats:
        return self.loop.stats()

    @property
    def processor(self) -> InputProcessor | None:
        return self.loop.built.processor if self.loop.built else None

    @property
    def runner(self) -> "ModelRunner | None":
        return self.loop.built.runner if self.loop.built else None

    @property
    def core(self) -> Core | None:
        return self.loop.core

    @property
    def device(self) -> str | None:
        return str(self.runner.device) if self.runner else None

    @property
    def dtype(self) -> str | None:
        return self.runner.dtype_name if self.runner else None

    @property
    def slots(self) -> int:
        """0 until the model is loaded."""
        return self.core.scheduler.slots.count if self.core else 0

    @property
    def max_model_len(self) -> int | None:
        """Tokens of prompt and answer together; None until the model is loaded, if it is not set."""
        return self.runner.plan.sizes.length if self.runner else self.config.max_model_len

    def memory_used_mb(self) -> float:
        """MiB; 0 until the model is loaded."""
        return self.runner.memory_used_mb() if self.runner else 0.0

    def memory_planned_mb(self) -> float | None:
        """MiB; None until the model is loaded."""
        return round(self.runner.plan.total / 2**20, 1) if self.runner else None

    @property
    def bounds(self) -> PixelBounds:
        """The checkpoint's own bounds on image sizes. Raises EngineUnavailable until it is loaded."""
        return self._require_ready().bounds

    @property
    def block_limits(self) -> BlockLimits:
        """How the checkpoint reads the blocks of a page best; like a release, until it is loaded."""
        return self.loop.built.preparation.block_limits if self.loop.built else WHOLE_BLOCKS

    @property
    def defaults(self) -> SamplingParams:
        """The sampling defaults of the checkpoint's generation_config. Raises EngineUnavailable until it is loaded."""
        return self._require_ready().defaults

    @property
    def layout(self) -> LayoutInfo | None:
        """What parts pages into blocks; None where nothing does, or until it is loaded."""
        if self.runner is None:
            return None
        networks, folder = self.runner.look.networks, self.config.layout
        orients, unwarps = networks.orientation is not None, networks.unwarping is not None
        if networks.layout is not None and folder is not None:
            labels = tuple(networks.layout.labels.values())
            return LayoutInfo(folder.name, networks.layout.model_type, labels, orients, unwarps)
        if not self.config.segments:
            return None
        return LayoutInfo(SEGMENTATION, SEGMENTATION, SEGMENTATION_LABELS, orients, unwarps)

    # --- requests -----------------------------------------------------------------------------------------------------

    def hold(
        self, count: int = 1, client: str = "", deadline: Deadline | None = None, *, streamed: bool = False
    ) -> Hold:
        """Admit the first `count` prompts of an answer that has several, or whose images are still to come.

        `streamed`: its tokens are read as they come, so that prefill of others may not hold them up for long.
        Raises InvalidRequest, QueueFull, EngineUnavailable.
        """
        self._require_ready()
        hold = Hold(
            places=count,
            client=client,
            deadline=deadline,
            streamed=streamed,
            admission=self.admission,
            image_turns=self.image_turns,
            on_release=self._drop,
        )
        self.admission.admit(hold, count)
        self._holds.add(hold)
        return hold

    def _drop(self, hold: Hold) -> None:
        self._holds.discard(hold)
        self.loop.post(lambda core: core.abandon(hold))  # also wakes a thread that waits for it

    async def submit(
        self,
        messages: abc.Sequence[dict[str, Any]],
        images: abc.Sequence[Image.Image],
        params: SamplingParams,
        bounds: abc.Sequence[PixelBounds] | None = None,
        hold: Hold | None = None,
    ) -> Generation:
        """Queue one request; `bounds` of each image override the checkpoint's own; `hold`: the answer it is part of.

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
        """Queue one prompt, prepared once, for several answers: all of them or, raising as `submit` does, none."""
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
                self._require_ready(job)  # its deadline may have passed meanwhile
                grammars = await loop.run_in_executor(self._prepare, preparation.grammars, params)
            for own, grammar in zip(params, grammars, strict=True):
                events = asyncio.Queue[TokenEvent]()
                sequence = preparation.sequence(
                    prompt, own, grammar=grammar, job=job, deliver=events.put_nowait, loop=loop, image_bytes=share
                )
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
        """Admit `count` prompts of an answer, unless its hold has places for them; the image bytes it has reserved.

        Raises InvalidRequest, QueueFull.
        """
        if not isinstance(job, Hold):
            self.admission.admit(job, count)
            return 0
        if not job.spend_places(count):
            self.admission.admit(job, count)
        return job.spend_bytes()

    def _enqueue(self, sequence: Sequence) -> None:
        self._require_ready(sequence.job)  # the thread may have ended while the prompt was prepared
        self.loop.post(lambda core: core.scheduler.add(sequence))
        if self.state in ("dead", "stopped"):  # ended after the check: the inbox is not emptied again
            raise EngineUnavailable("the engine stopped working")

    def abort(self, sequence: Sequence) -> None:
        """Takes effect no later than the end of the step already launched."""
        self.loop.post(lambda core: core.finish(sequence, None))

    def _require_ready(self, job: Job | None = None) -> Preparation:
        """What requests are prepared with. Raises EngineUnavailable, or DeadlineExceeded for that of `job`."""
        self.loop.check_open(job)
        if job is not None and job.deadline is not None and time.monotonic() >= job.deadline.at:
            raise DeadlineExceeded(job.deadline.seconds)
        assert self.loop.built is not None
        return self.loop.built.preparation

    # --- pages --------------------------------------------------------------------------------------------------------

    async def find_blocks(
        self, pages: abc.Sequence[Image.Image], threshold: float, hold: Hold
    ) -> list[list[Detection]]:
        """Each page's blocks that score at least `threshold`, 0 to 1, in reading order, for the answer of `hold`.

        The first page that fails ends the others. Raises InvalidRequest where no layout network is served,
        GenerationFailed, DeadlineExceeded, EngineUnavailable.
        """
        return await self._looking.find_blocks(pages, threshold, hold)

    async def upright(
        self, pages: abc.Sequence[Image.Image], *, orient: bool, unwarp: bool, hold: Hold
    ) -> list[Upright]:
        """Each page turned so that it can be read, with `orient`, and then flattened, with `unwarp`.

        Raises as `find_blocks` does.
        """
        return await self._looking.upright(pages, hold, orient=orient, unwarp=unwarp)

    # --- tokens -------------------------------------------------------------------------------------------------------

    async def tokenize(
        self,
        messages: abc.Sequence[dict[str, Any]],
        images: abc.Sequence[Image.Image],
        bounds: abc.Sequence[PixelBounds] | None = None,
    ) -> list[int]:
        """The token ids of the prompt that `submit` would prepare, image placeholders included. Raises as `submit`."""
        preparation = self._require_ready()
        loop = asyncio.get_running_loop()
        prompt = await loop.run_in_executor(self._prepare, preparation.prompt, messages, images, bounds)
        return prompt.input_ids

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a bare text. Raises EngineUnavailable."""
        return self._require_ready().encode(text)

    def token_bytes(self, token: int) -> bytes:
        """UTF-8 bytes that a token contributes to the text; empty for one that the tokenizer does not know."""
        assert self.loop.built is not None
        return self.loop.built.preparation.token_bytes(token)

    def decode_tokens(self, tokens: abc.Sequence[int]) -> str:
        """The text of token ids, control tokens included. Raises EngineUnavailable, InvalidRequest."""
        return self._require_ready().decode(tokens)
