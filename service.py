"""The BentoML service: the model it serves, its GPU requirement, readiness and shutdown; mounts the API.

BentoML imports this file in the parent process and in every worker, so it stays light: torch and transformers are
imported on the engine's thread.
"""

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bentoml
import psutil
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from pydantic import BaseModel

from api.app import create_app
from api.logs import formatter
from api.serving import Serving
from engine.engine import Engine
from engine.threads import background_pool
from images.processes import DecoderProcesses
from models.hub import fetch
from models.store import EMBEDDED_NAME, StoreError, import_embedded
from settings import load_settings

logger = logging.getLogger("bentoml.paddleocr_vl")

SUPERVISOR = "PADDLEOCR_VL_SUPERVISOR"  # process id of the parent of the workers
IMAGE_THREADS = 4  # that fetch images and documents and have them decoded, each by a process apart
# What the bentofiles cannot say. Under no name that BentoML knows, Debian is spared the compiler and git that it adds.
# The folders are made for the image's ordinary user, so that it may write into fresh volumes.
IMAGE = bentoml.images.Image(base_image="python:3.11-slim-bookworm", distro="").run(
    "cd /home/bentoml && install -d -o bentoml -g bentoml bentos envs models tmp .cache .cache/huggingface"
)
SECONDS_TO_END = 5  # after DRAIN_SECONDS, for the last bytes to reach their clients
SECONDS_TO_TELL = 2  # why the engine died, to whoever asks for the health of its worker, before that ends


class Arguments(BaseModel):
    """Of `bentoml serve --arg model=TAG`, or of `bentoml build`, which keeps them: a built bento takes no others."""

    model: str = ""  # as the setting of the same name, and before it


def chosen_tag(argument: str, setting: str | None) -> str:
    """The tag to serve, of a model that is in the store. Raises SystemExit."""
    if argument and setting and argument != setting:
        raise SystemExit(
            f"MODEL is {setting}, but this is built or started with --arg model={argument}. Leave one out."
        )
    chosen = argument or setting
    try:
        if not chosen and "BENTOML_CONTAINERIZED" in os.environ:
            raise SystemExit(
                "No model is chosen. An image serves only what it is told to: set MODEL to a tag of a mounted store or "
                "to HUB_ID@COMMIT, or build it with --arg model=TAG."
            )
        if not chosen:
            return import_embedded(bentoml.models)
        if "/" in chosen:  # no tag has one: a hub id at a commit
            return fetch(bentoml.models, chosen, logger.info)
        return str(bentoml.models.get(chosen).tag)
    except (StoreError, OSError) as error:
        raise SystemExit(f"The model {chosen or ''} cannot be put into the store: {error}") from error
    except bentoml.exceptions.NotFound:
        raise SystemExit(
            f"The model store has no {chosen}. See `bentoml models list`; scripts/import_model.py puts models there."
        ) from None


def look_after_workers() -> None:
    """In the parent, whose own signals BentoML handles: what a worker tells it by another one, and when it looks."""
    if bentoml.server_context.worker_index is not None or threading.current_thread() is not threading.main_thread():
        return
    from tornado.ioloop import IOLoop

    def end(*_: object) -> None:
        """A worker cannot load its model: end the whole server, instead of starting the worker for ever."""
        for worker in psutil.Process().children():
            worker.terminate()
        os._exit(1)

    def pass_interrupts_on(*_: object) -> None:
        """A worker drains: it should hear of a second Ctrl-C, which BentoML drops, and the terminal tells only us."""
        signal.signal(signal.SIGINT, interrupt_workers)

    def interrupt_workers(*_: object) -> None:
        for worker in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.send_signal(signal.SIGINT)

    signal.signal(signal.SIGUSR2, end)
    signal.signal(signal.SIGUSR1, pass_interrupts_on)
    os.environ[SUPERVISOR] = str(os.getpid())
    # By the clock on the wall, which Tornado goes by, the next look would be hours away once that is set back by hours.
    IOLoop.time = lambda _: time.monotonic()  # type: ignore[method-assign, assignment]


def tell_parent(number: signal.Signals) -> None:
    if os.environ.get(SUPERVISOR) == str(os.getppid()):
        os.kill(os.getppid(), number)


def pass_time_outs_by() -> None:
    """BentoML's own, which it cannot go without: REQUEST_SECONDS is ours, with a message and the slot freed.

    Whatever the time, each request leaves a timer until then. And a timer holds what was current when it was made: on
    a connection that lasts an earlier request, body and all, so that an hour's requests would stay in memory.
    """

    async def pass_by(middleware: Any, scope: Any, receive: Any, send: Any) -> None:
        await middleware.app(scope, receive, send)

    TimeoutMiddleware.__call__ = pass_by  # type: ignore[method-assign, assignment]


def show_logs() -> None:
    """What the packages log goes where BentoML's own does; else Python shows their warnings only, without a time."""
    bentoml_logger = logging.getLogger("bentoml")
    bentoml_logger.setLevel(settings.log_level.upper())
    for handler in bentoml_logger.handlers:  # which serve uvicorn and everybody else as well
        handler.setFormatter(formatter(settings.log_format))
    for package in ("api", "answers", "images", "engine"):
        logging.getLogger(package).parent = bentoml_logger


class Ending:
    """What SIGTERM and SIGINT do in a worker: running requests end, and only then the HTTP server.

    uvicorn alone would close the door first, with new connections left hanging in the parent's socket, then wait for
    running requests without a bound, and tell the service last. This stands in front of its handlers, from within its
    event loop: new requests are answered with 503 while running ones finish or, when their time is up, are ended.
    """

    def __init__(self, engine: Engine, requests: Set[asyncio.Task[Any]]) -> None:
        """`requests`: the tasks that answer them, as they come and go."""
        self._engine = engine
        self._requests = requests
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(2, "ending")  # for one that waits and one in a hurry
        self._draining: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._servers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in self._servers:
            self._loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        """A second SIGTERM says nothing new: a service manager may signal every process, as the parent does."""
        if self._draining is None:
            self._draining = self._loop.create_task(self._drain())
        elif number == signal.SIGINT:
            signal.setitimer(signal.ITIMER_REAL, SECONDS_TO_END)
            self._loop.run_in_executor(self._threads, self._engine.shutdown, 0)

    async def _drain(self) -> None:
        grace = settings.drain_seconds if self._engine.state == "ready" else 0  # nothing runs before or after
        # Whatever hangs, the model's thread or a client that reads no further: then the kernel ends this process.
        signal.setitimer(signal.ITIMER_REAL, grace + SECONDS_TO_END)
        tell_parent(signal.SIGUSR1)
        logger.info("Draining: running requests have %g seconds.", grace)
        await asyncio.wait({self._loop.run_in_executor(self._threads, self._engine.shutdown, grace), *self._requests})
        self._hand_over()

    def make_room(self) -> None:
        """End the worker, whose engine died, so that BentoML starts another. From any thread."""

        def begin() -> None:
            self._leaving = self._loop.create_task(self._leave())

        self._loop.call_soon_threadsafe(begin)

    async def _leave(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, SECONDS_TO_TELL + SECONDS_TO_END)
        await asyncio.sleep(SECONDS_TO_TELL)
        if self._requests:
            await asyncio.wait([*self._requests])
        self._hand_over()

    def _hand_over(self) -> None:
        """Let the HTTP server end as it would have."""
        for number, server in self._servers.items():
            self._loop.remove_signal_handler(number)
            signal.signal(number, server)
        signal.raise_signal(signal.SIGTERM)  # not SIGINT, which uvicorn makes a KeyboardInterrupt in the end


settings = load_settings(os.environ)
if settings.transformers_cache:
    os.environ.setdefault("HF_HUB_CACHE", str(settings.transformers_cache))
show_logs()
pass_time_outs_by()
arguments = bentoml.use_arguments(Arguments)
tag = chosen_tag(arguments.model, settings.model)
app = create_app(
    settings.max_request_bytes,
    body_seconds=settings.body_seconds,
    keys=settings.keys(),
    metrics_open=settings.metrics_open,
    rate_limit=settings.rate_limit,
    cors_origins=settings.cors_origins,
    exporter=settings.exporter,
)
look_after_workers()


@bentoml.service(
    name="paddleocr-vl",
    image=IMAGE,
    resources={"gpu": settings.workers},  # a machine without one serves on its CPU
    workers=settings.workers,
    http={"host": settings.host, "port": settings.port},
    metrics={"enabled": False},  # its own would name every path ever asked for; the API has /metrics
    logging={"access": {"enabled": False}},  # the API writes a line a request
    tracing={"excluded_urls": ".*"},  # the API has spans of its own, and this would cost time where nobody collects any
)
@bentoml.asgi_app(app, path="/")
class PaddleOCRVLService:
    if arguments.model:  # what a bento is built for goes into it; any other finds its model in the store
        packed = bentoml.models.BentoModel(tag)

    def __init__(self) -> None:
        show_logs()
        checkpoint = bentoml.models.get(tag)
        name = served_name(checkpoint)
        worker = bentoml.server_context.worker_index
        if name == EMBEDDED_NAME:
            logger.warning("Serving the embedded checkpoint, %s: it reads small clean English print only.", name)
        self.decoders = DecoderProcesses(
            IMAGE_THREADS, settings.decode_seconds, settings.max_image_pixels, settings.max_image_bytes
        )
        self.engine = Engine(settings.engine_config(Path(checkpoint.path), worker or 1), on_failure=self._on_failure)
        app.state.serving = Serving(
            self.engine,
            name,
            settings.limits(),
            revision(checkpoint),
            settings.served_model_names,
            settings.strict_model_names,
            settings.strict_fields,
            settings.log_texts,
            settings.request_seconds,
            decoder=self.decoders,
        )
        self.ending: Ending | None = None
        if worker is not None:  # in another's process, neither signals nor loop are ours
            self.ending = Ending(self.engine, app.state.requests)
            asyncio.get_running_loop().set_default_executor(background_pool(IMAGE_THREADS, "images"))
        self.engine.start()
        self.decoders.start()

    async def __is_ready__(self) -> bool:
        return self.engine.trouble is None

    async def __is_alive__(self) -> bool:
        return not self.engine.lost

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def stop_engine(self) -> None:
        self.engine.shutdown(0)  # the HTTP server has seen the last request off
        self.decoders.close()

    def _on_failure(self, error: BaseException) -> None:
        """A model that cannot be loaded ends the server; after a thread that died, another worker takes over."""
        if self.engine.state == "failed":
            logger.critical("The model %s cannot be loaded: %s", tag, error)
            tell_parent(signal.SIGUSR2)
            os._exit(1)
        if self.ending is not None:
            logger.critical("The engine died, and its worker ends: %s", error)
            self.ending.make_room()


def served_name(model: bentoml.Model) -> str:
    """What clients see: the hub id that the model came from, else its name in the store."""
    metadata = model.info.metadata
    return str(metadata["source"]) if metadata.get("revision") else model.tag.name


def revision(model: bentoml.Model) -> str:
    """Which version of the model it is: the hub's revision, else the store's version."""
    return str(model.info.metadata.get("revision") or model.tag.version)
