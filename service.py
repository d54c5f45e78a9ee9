"""The BentoML service: the composition root, which puts settings, model, engine, app and lifecycle together.

BentoML imports this file in the parent process and in every worker, so it stays light: torch and transformers are
imported on the engine's thread.
"""

import asyncio
import logging
import os
import threading

import bentoml
from pydantic import BaseModel

from api.app import create_app
from api.logs import configure_logs
from api.serving import Serving
from bentoml_patches import bypass_request_timeout, use_steady_clock
from engine.engine import Engine
from engine.threads import background_pool
from images.processes import DecoderProcesses
from lifecycle import WorkerLifecycle, end_server, listening, supervise_workers
from models.choice import choose, remarks
from settings import load_settings

logger = logging.getLogger("bentoml.paddleocr_vl")

IMAGE_THREADS = 4  # threads that fetch images and documents, each with a process that decodes them
# Image settings that the bentofiles cannot express. An empty `distro` keeps BentoML from installing a compiler and git.
# The folders belong to the image's ordinary user, which can then write to fresh volumes.
CONTAINER_IMAGE = bentoml.images.Image(base_image="python:3.11-slim-bookworm", distro="").run(
    "cd /home/bentoml && install -d -o bentoml -g bentoml bentos envs models tmp"
    " .cache .cache/huggingface .cache/paddleocr-vl"
)


class Arguments(BaseModel):
    """Arguments of `bentoml serve --arg model=TAG`, or of `bentoml build`: a built bento takes no others."""

    model: str = ""  # same as the setting MODEL, and so on; if both are set, they must agree
    layout: str = ""
    orientation: str = ""
    unwarping: str = ""


settings = load_settings(os.environ)
if settings.transformers_cache:
    os.environ.setdefault("HF_HUB_CACHE", str(settings.transformers_cache))
configure_logs(logging.getLogger("bentoml"), settings.log_level, settings.log_format)
bypass_request_timeout()
arguments = bentoml.use_arguments(Arguments)
named = arguments.model_dump()
served = choose(bentoml.models, named, settings.model_dump(include=set(named)), logger.info)
app = create_app(
    max_request_bytes=settings.max_request_bytes,
    body_seconds=settings.body_seconds,
    keys=settings.keys(),
    metrics_open=settings.metrics_open,
    rate_limit=settings.rate_limit,
    cors_origins=settings.cors_origins,
    exporter=settings.exporter,
    page=settings.ui,
)
if bentoml.server_context.worker_index is None and threading.current_thread() is threading.main_thread():  # the parent
    supervise_workers()
    use_steady_clock()


@bentoml.service(
    name="paddleocr-vl",
    image=CONTAINER_IMAGE,
    resources={"gpu": settings.workers},  # a machine without a GPU serves on its CPU
    workers=settings.workers,
    http={"host": settings.bind_host, "port": settings.port},
    metrics={"enabled": False},  # BentoML's own would name every path ever asked for; the API has /metrics
    logging={"access": {"enabled": False}},  # the API writes a line a request
    tracing={"excluded_urls": ".*"},  # the API has spans of its own, and BentoML's cost time even without a collector
)
@bentoml.asgi_app(app, path="/")
class PaddleOCRVLService:
    """One worker: an engine with its model, the processes that decode images, and the app in front of them."""

    def __init__(self) -> None:
        configure_logs(logging.getLogger("bentoml"), settings.log_level, settings.log_format)
        worker = bentoml.server_context.worker_index
        for level, text in remarks(served):
            logger.log(level, text)
        logger.info("The %s is at %s", "page" if settings.ui else "API", listening(settings.bind_host, settings.port))
        self.decoders = DecoderProcesses(
            count=IMAGE_THREADS,
            seconds=settings.decode_seconds,
            max_pixels=settings.max_image_pixels,
            max_bytes=settings.max_image_bytes,
        )
        folders = {role: one.folder for role, one in served.items() if one.folder is not None}
        segments = "layout" in served and "layout" not in folders
        config = settings.engine_config(folders, worker or 1, segments=segments)
        self.engine = Engine(config, on_failure=self._on_failure)
        app.state.serving = Serving(
            engine=self.engine,
            model=served["model"].name,
            limits=settings.limits(),
            revision=served["model"].revision,
            layout=served.get("layout"),
            orientation=served.get("orientation"),
            unwarping=served.get("unwarping"),
            other_names=settings.served_model_names,
            strict_names=settings.strict_model_names,
            strict_fields=settings.strict_fields,
            log_texts=settings.log_texts,
            request_seconds=settings.request_seconds,
            decoder=self.decoders,
        )
        self.lifecycle: WorkerLifecycle | None = None
        if worker is not None:  # embedded in another process, it owns neither signals nor event loop
            self.lifecycle = WorkerLifecycle(
                engine=self.engine,
                requests=app.state.requests,
                drain_seconds=settings.drain_seconds,
                logger=logger,
            )
            asyncio.get_running_loop().set_default_executor(background_pool(IMAGE_THREADS, "images"))
        self.engine.start()
        self.decoders.start()

    async def __is_ready__(self) -> bool:
        return self.engine.trouble is None

    async def __is_alive__(self) -> bool:
        return not self.engine.lost

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def stop_engine(self) -> None:
        self.engine.shutdown(0)  # the HTTP server has finished the last request
        self.decoders.close()

    def _on_failure(self, error: BaseException) -> None:
        """A model that cannot be loaded ends the server; after a thread died, another worker takes over."""
        if self.engine.state == "failed":
            logger.critical("%s cannot be loaded: %s", " with ".join(one.name for one in served.values()), error)
            end_server()
        if self.lifecycle is not None:
            logger.critical("The engine died, and its worker ends: %s", error)
            self.lifecycle.replace_worker()


# Models that a build names are packed into its bento; any others are in the store.
PaddleOCRVLService.models.extend(  # type: ignore[attr-defined]  # the decorator makes a bentoml.Service of the class
    bentoml.models.BentoModel(one.tag) for role, one in served.items() if named[role] and one.tag
)
