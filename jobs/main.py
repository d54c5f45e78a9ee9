"""The processes: the OCR API, with a worker in it unless JOBS_WORKER=0, and workers of their own."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from queue import SimpleQueue

import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI

from api.logs import formatter
from api.page import address
from environment import SettingsError
from jobs.http.app import create_app
from jobs.http.serving import Serving
from jobs.metrics import Metrics
from jobs.queue import Bounds, JobQueue
from jobs.readers import readers
from jobs.settings import JobSettings, load_job_settings
from jobs.store import Store
from jobs.tables import connect, migrate
from jobs.tracing import Traces
from jobs.worker import Worker

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5  # for requests that are being answered, at shutdown
PACKAGES = ("jobs", "api", "images")  # with loggers of their own
QUIET = ("dbos", "httpx2")  # libraries of which only errors are logged


class Parts:
    """What API and workers share: database, store and queue."""

    def __init__(self, settings: JobSettings) -> None:
        """Raises SettingsError for a database or a store that cannot be used."""
        self.settings = settings
        try:
            settings.jobs_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.store = Store(settings.store)
            self.engine = connect(settings.database)
            migrate(self.engine)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise SettingsError(f"The database of jobs cannot be used: {error}") from None
        bounds = Bounds(settings.jobs_max_waiting, settings.jobs_max_waiting_bytes)
        self.queue = JobQueue(self.engine, self.store, bounds)
        self.traces = Traces(settings.exporter)

    def worker(self) -> Worker:
        return Worker(self.settings, self.engine, self.store, self.queue, self.traces)

    def close(self) -> None:
        self.traces.close()
        self.queue.close()
        self.engine.dispose()


def ocr_app(parts: Parts, worker: Worker | None) -> FastAPI:
    """The API; it starts and stops its worker with itself."""
    settings, keys = parts.settings, parts.settings.keys()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if worker is not None:
            await asyncio.to_thread(worker.start)
        yield
        if worker is not None:
            await asyncio.to_thread(worker.stop)

    app = create_app(settings, keys, lifespan)
    app.state.tracer = parts.traces.tracer
    app.state.serving = Serving(
        settings=settings,
        queue=parts.queue,
        store=parts.store,
        readers=readers(settings.model_name),
        metrics=Metrics(parts.queue.records),
        with_keys=keys is not None,
        worker=None if worker is None else worker.name,
    )
    return app


def run_api() -> None:
    """Serve until SIGTERM or SIGINT. Raises SettingsError."""
    settings = load_job_settings()
    configure_logs(settings)
    parts = Parts(settings)
    worker = parts.worker() if settings.jobs_worker else None
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
    ):  # uvicorn raises it again once it has ended, which would end us by it
        signal.signal(number, lambda *_: None)
    what = "page" if settings.ui else "API"
    logger.info("The %s is at %s", what, address(settings.jobs_host, settings.jobs_port))
    uvicorn.run(
        ocr_app(parts, worker),
        host=settings.jobs_host,
        port=settings.jobs_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    parts.close()
    _end()


def run_worker() -> None:
    """Work until SIGTERM or SIGINT. Raises SettingsError."""
    settings = load_job_settings()
    configure_logs(settings)
    parts = Parts(settings)
    worker = parts.worker()
    ending: SimpleQueue[int] = SimpleQueue()  # not an event, whose lock a second signal would wait for forever
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: ending.put(number))
    worker.start()
    ending.get()
    worker.stop()
    parts.close()
    _end()


def _end() -> None:
    """End at once. Threads of DBOS may wait a minute for a database that is gone, and nothing of theirs is lost."""
    logging.shutdown()
    os._exit(0)


def configure_logs(settings: JobSettings) -> None:
    """Send all logs to the standard error, in the server's formats."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(settings.log_format))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for package in PACKAGES:
        logging.getLogger(package).setLevel(settings.log_level.upper())
    for library in QUIET:
        logging.getLogger(library).setLevel(logging.ERROR)
