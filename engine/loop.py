"""The life of the engine's thread: load the model, then empty the inbox and run a step, again and again, until drained.

torch and transformers are imported on the thread: that takes seconds, during which the server already answers health
checks.
"""

import logging
import os
import queue
import threading
import time
from collections import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from engine.admission import Admission
from engine.allocator import share_heaps, trim
from engine.config import EngineConfig
from engine.core import Core
from engine.errors import EngineError, EngineUnavailable
from engine.handles import Hold
from engine.request import Job
from engine.stats import Report, Stats, Totals
from engine.threads import let_waiting_threads_sleep
from engine.watchdog import Watchdog

if TYPE_CHECKING:
    from engine.build import Built

logger = logging.getLogger(__name__)

State = Literal["loading", "ready", "draining", "stopped", "failed", "dead"]
"""failed: the model could not be loaded. dead: the thread broke afterwards."""

LAST_STEP_SECONDS = 5.0  # for the step in progress, once the time to drain is up
# On a CPU, oneDNN and PyTorch on top of it each cache 1024 kernels, of 0.3 MB or more. Every prompt length needs some
# of its own and rarely recurs: after 400 lengths, 700 MB. Creating a kernel takes 1 ms, and 128 are enough for those of
# decoding to stay: one for each kind of layer and batch size.
KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
CACHED_KERNELS = 128
IDLE_SECONDS = 1.0  # without a request, before free memory is handed back


class Loop:
    """The thread that runs an engine. It alone touches the model, loading included.

    Other threads post commands to its inbox, which it empties between steps.
    """

    def __init__(
        self,
        *,
        config: EngineConfig,
        admission: Admission,
        holds: set[Hold],
        on_failure: Callable[[BaseException], None] | None,
    ) -> None:
        """`holds`: the answers that a draining engine still serves; a failure ends them."""
        self.state: State = "loading"
        self.error: BaseException | None = None
        self.built: Built | None = None
        self.core: Core | None = None
        self.observer: Callable[[Report], None] | None = None
        self._config = config
        self._admission = admission
        self._holds = holds
        self._on_failure = on_failure
        self._inbox: queue.SimpleQueue[Callable[[Core], None]] = queue.SimpleQueue()
        self._reported: Stats | None = None  # to the observer
        self._watchdog = Watchdog()
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)

    # --- called from any thread ---------------------------------------------------------------------------------------

    def start(self) -> None:
        share_heaps()
        self._thread.start()

    def wait_until_settled(self, timeout: float | None) -> State:
        """Block until the model is loaded or has failed to load."""
        self._settled.wait(timeout)
        return self.state

    def post(self, command: Callable[[Core], None]) -> None:
        """Run `command` on the thread, before its next step. Commands are run in the order of their posting."""
        self._inbox.put(command)

    def check_open(self, job: Job | None = None) -> None:
        """Raises EngineUnavailable unless prompts are accepted; while draining, only those of holds are."""
        state = self.state
        if state != "ready" and not (state == "draining" and job in self._holds):
            raise EngineUnavailable(self._reasons[state])

    @property
    def trouble(self) -> str | None:
        """Why no request is served, for good or at present; None while all is well."""
        if self.state != "ready":
            return self._reasons[self.state]
        stuck = self._watchdog.stuck
        return stuck and f"the engine is stuck: {stuck}"

    @property
    def lost(self) -> bool:
        """Only a new process helps: the model could not be loaded, the thread died, or it is stuck for minutes."""
        return self.state in ("failed", "dead") or self._watchdog.lost

    def stats(self) -> Stats:
        if self.core is not None:
            return self.core.stats()
        return Stats(
            running=0,
            waiting=0,
            waiting_bytes=0,
            free_slots=0,
            cache_usage=0.0,
            image_cache_bytes=0,
            totals=Totals(),
        )

    def drain(self, grace: float) -> None:
        """Accept no more requests, let running ones finish for `grace` seconds, end the rest, stop the thread."""
        if self.state in ("loading", "ready"):
            self.state = "draining"
        self.post(lambda _: None)  # wakes an idle thread
        self._thread.join(grace)
        if self._thread.is_alive():
            error = EngineUnavailable("the server is shutting down")
            self._end_holds(error)
            self.post(lambda core: core.end_all(error))
            self._thread.join(LAST_STEP_SECONDS)

    @property
    def _reasons(self) -> "dict[State, str]":
        return {
            "loading": "the model is still loading",
            "draining": "the server is shutting down",
            "stopped": "the server is shutting down",
            "failed": f"the model could not be loaded: {self.error}",
            "dead": f"the engine stopped working: {self.error}",
        }

    # --- on the engine's thread ---------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            core = self._load()
        except BaseException as error:
            self._fail("failed", error)
            return
        try:
            while self._empty_inbox(core):
                core.step()
            self.state = "stopped"
        except BaseException as error:
            self._fail("dead", error)
        finally:
            self._watchdog.close()

    def _load(self) -> Core:
        started = time.monotonic()
        for cache in KERNEL_CACHES:
            os.environ.setdefault(cache, str(CACHED_KERNELS))
        let_waiting_threads_sleep()
        from engine.build import build

        self.built = built = build(self._config)
        self._admission.slots = built.runner.slots
        self._new_core(built).try_out()
        built.runner.prepare()
        core = self._new_core(built)
        self._watchdog.watch()
        logger.info(
            "Model %s ready in %.1f s: %s, %s, %d slots of %d tokens",
            self._config.model,
            time.monotonic() - started,
            built.runner.device,
            built.runner.dtype_name,
            built.runner.slots,
            built.runner.plan.sizes.length,
        )
        if self.state == "loading":
            self.state = "ready"
        self._settled.set()
        return core

    def _new_core(self, built: "Built") -> Core:
        """A core without sequences; the runner forgets what earlier ones left in its caches and totals."""
        built.runner.reset()
        self.core = Core(
            runner=built.runner,
            preparation=built.preparation,
            admission=self._admission,
            watchdog=self._watchdog,
            report=self._report,
        )
        return self.core

    def _empty_inbox(self, core: Core) -> bool:
        """Run the posted commands; wait while there is nothing to do. False: drained, the thread may end."""
        while True:
            try:
                waiting = self.state == "ready" or bool(self._holds)
                if idle := core.idle:
                    self._report()  # the last sequence may have left between steps
                command = self._wait() if idle and waiting else self._inbox.get(block=False)
            except queue.Empty:
                return not core.idle or self.state != "draining"
            command(core)

    def _wait(self) -> Callable[[Core], None]:
        """The next command. After a while without one, memory that requests have freed is handed back."""
        try:
            return self._inbox.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            trim()
            return self._inbox.get()

    def _report(self, queued: abc.Sequence[float] = (), gaps: abc.Sequence[float] = ()) -> None:
        """Notify the observer; its exceptions never fail a request. Nothing is reported before the model is ready."""
        if self.observer is None or self.state == "loading":
            return
        stats = self.stats()
        if stats == self._reported and not queued and not gaps:
            return
        self._reported = stats
        try:
            self.observer(Report(stats, queued, gaps))
        except Exception:
            logger.exception("The engine's observer failed and is not called any more")
            self.observer = None

    def _end_holds(self, error: EngineError) -> None:
        """End answers whose images or pages are still to come; from any thread."""
        for hold in list(self._holds):
            hold.end(error)
        self._holds.clear()

    def _fail(self, state: State, error: BaseException) -> None:
        """Notify all waiting callers and the engine's owner."""
        logger.error("The engine's thread ended: %s", error, exc_info=error)
        self.error, self.state = error, state
        if self.core is not None:  # else nothing was admitted
            while not self._inbox.empty():  # submissions that no step has handled
                self._inbox.get()(self.core)
            ended = EngineUnavailable(f"the engine stopped working: {error}")
            self._end_holds(ended)
            self.core.end_all(ended)
        self._report()
        self._settled.set()
        if self._on_failure is not None:
            self._on_failure(error)
