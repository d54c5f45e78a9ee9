"""The BentoML service: the model it serves, its GPU requirement, readiness and shutdown; mounts the API.

BentoML imports this file in the parent process and in every worker, so it stays light: torch and transformers are
imported on the engine's thread.
"""

import logging
import os
import signal
import threading
from pathlib import Path

import bentoml
import psutil
from pydantic import BaseModel

from api.app import create_app
from api.serving import Serving
from engine.engine import Engine
from models.store import EMBEDDED_NAME, import_embedded
from settings import load_settings

logger = logging.getLogger("bentoml.paddleocr_vl")

SUPERVISOR = "PADDLEOCR_VL_SUPERVISOR"  # process id of the parent of the workers
LONGEST_REQUEST = 3600  # seconds; BentoML's own default of 60 would cut long answers off


class Arguments(BaseModel):
    """`bentoml serve --arg model=TAG`."""

    model: str = ""  # a tag of the model store; empty: the embedded checkpoint


def chosen_tag(arguments: Arguments) -> str:
    """The tag to serve. Raises SystemExit in a container without a choice."""
    if arguments.model:
        return arguments.model
    if "BENTOML_CONTAINERIZED" in os.environ:
        raise SystemExit("No model is chosen. An image serves only what it is told to: add `--arg model=TAG`.")
    return import_embedded(bentoml.models)


def end_server_when_told() -> None:
    """In the parent: a worker that cannot load its model ends the whole server, instead of being started for ever."""
    if bentoml.server_context.worker_index is not None or threading.current_thread() is not threading.main_thread():
        return

    def end(*_: object) -> None:
        for worker in psutil.Process().children():
            worker.terminate()
        os._exit(1)

    signal.signal(signal.SIGUSR2, end)
    os.environ[SUPERVISOR] = str(os.getpid())


settings = load_settings(os.environ)
tag = chosen_tag(bentoml.use_arguments(Arguments))
app = create_app(settings.max_request_bytes)
end_server_when_told()


@bentoml.service(
    name="paddleocr-vl",
    resources={"gpu": 1},  # a machine without one serves on its CPU
    traffic={"timeout": LONGEST_REQUEST},
    http={"port": 8001},
)
@bentoml.asgi_app(app, path="/")
class PaddleOCRVLService:
    checkpoint = bentoml.models.BentoModel(tag)

    def __init__(self) -> None:
        name = served_name(self.checkpoint)
        if name == EMBEDDED_NAME:
            logger.warning("Serving the embedded checkpoint, %s: it reads small clean English print only.", name)
        self.engine = Engine(settings.engine_config(Path(self.checkpoint.path)), on_failure=self._on_failure)
        app.state.serving = Serving(
            self.engine,
            name,
            settings.limits(),
            revision(self.checkpoint),
            settings.served_model_names,
            settings.strict_model_names,
            settings.strict_fields,
        )
        self.engine.start()

    async def __is_ready__(self) -> bool:
        return self.engine.state == "ready"

    async def __is_alive__(self) -> bool:
        return self.engine.state not in ("failed", "dead")

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def drain(self) -> None:
        self.engine.shutdown(settings.drain_seconds)

    def _on_failure(self, error: BaseException) -> None:
        """A model that cannot be loaded ends the server; a thread that died leaves health and probes to tell."""
        if self.engine.state == "failed":
            logger.critical("The model %s cannot be loaded: %s", tag, error)
            if os.environ.get(SUPERVISOR) == str(os.getppid()):
                os.kill(os.getppid(), signal.SIGUSR2)
            os._exit(1)


def served_name(model: bentoml.Model) -> str:
    """What clients see: the hub id that the model came from, else its name in the store."""
    metadata = model.info.metadata
    return str(metadata["source"]) if metadata.get("revision") else model.tag.name


def revision(model: bentoml.Model) -> str:
    """Which version of the model it is: the hub's revision, else the store's version."""
    return str(model.info.metadata.get("revision") or model.tag.version)
