"""A worker: takes jobs from the queue and reads them. Puts DBOS, the steps and the keeper together."""

import contextlib
import logging
import threading
import time

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, error

from api import __version__
from jobs.claim import Claim
from jobs.context import Context
from jobs.keeper import Keeper
from jobs.leases import Leases
from jobs.queue import APPLICATION, QUEUES, JobQueue
from jobs.readers import readers
from jobs.records import Records
from jobs.serializer import JsonSerializer
from jobs.settings import JobSettings
from jobs.simple_ocr.intake import Intake
from jobs.simple_ocr.message import Side
from jobs.splitters import Splitters
from jobs.store import Store
from jobs.strays import Strays
from jobs.tracing import Traces
from jobs.workflow import register

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25  # between two looks at the queue
SPLITTERS = 2  # processes of one worker
END_SECONDS = 10.0  # for what DBOS does at the end
WATCH_SECONDS = 0.05  # between two looks at the steps that are under way, at the end


EXPECTED = (error.DBOSAwaitedWorkflowCancelledError, error.DBOSWorkflowConflictIDError)
"""Errors that say no more than that a job was cancelled or taken over."""


class Worker:
    """One worker of this process; DBOS knows one a process."""

    def __init__(self, settings: JobSettings, engine: sa.Engine, store: Store, queue: JobQueue, traces: Traces) -> None:
        """`engine`: with all tables. Raises SettingsError where another worker has this one's place."""
        self._settings, self._queue = settings, queue
        self._claim = Claim(engine, settings.jobs_worker_id)
        self.name = self._claim.name
        self._leases = Leases(engine, self.name, __version__, settings.jobs_lease_seconds)
        side = Side(settings=settings, queue=queue, worker=self.name)
        self._intake = None if settings.nats_url is None else Intake(side)
        self._context = Context(
            settings=settings,
            records=Records(engine),
            store=store,
            readers=readers(settings.model_name),
            traces=traces,
            splitters=Splitters(SPLITTERS, settings.jobs_max_bytes),
        )
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_engine": engine,
            "system_database_url": engine.url.render_as_string(hide_password=False).replace("+psycopg", ""),
            "serializer": JsonSerializer(),
            "executor_id": self.name,
            "application_version": __version__,
            "run_migrations": False,
        }
        dbos = DBOS(config=config)
        strays = Strays(queue, self.name, dbos._active_workflows_set.activeList)
        self._keeper = Keeper(settings, queue, self._leases, strays, __version__)
        _log_dbos_as_ours()
        register(self._context)

    def start(self) -> None:
        """Begin to work, first on jobs that this worker had when it ended. Not in an event loop: it blocks."""
        self._leases.beat()
        DBOS.listen_queues(list(QUEUES.values()))
        DBOS.launch()
        DBOS.set_latest_application_version(__version__)  # new jobs go to the latest, also after a step back
        for queue in QUEUES.values():
            DBOS.register_queue(
                queue, worker_concurrency=self._settings.jobs_documents, polling_interval_sec=POLL_SECONDS
            )
        self._keeper.start()
        if self._intake is not None:
            self._intake.start()
        logger.info("Worker %s reads documents with %s", self.name, ", ".join(self._settings.vllm_url))

    def stop(self) -> None:
        """End between two steps of every job. Steps that are under way have JOBS_DRAIN_SECONDS to finish."""
        drain = self._context.drain
        drain.wanted = True
        if self._intake is not None:
            self._intake.stop()
        deadline = time.monotonic() + self._settings.jobs_drain_seconds
        while drain.running and time.monotonic() < deadline:
            time.sleep(WATCH_SECONDS)
        if drain.running:
            logger.warning("%d steps did not finish in time, and are run again", drain.running)
        self._keeper.stop()
        ending = threading.Thread(target=DBOS.destroy, daemon=True)  # it may wait for a database that is gone
        ending.start()
        ending.join(END_SECONDS)
        self._context.splitters.close()
        with contextlib.suppress(sa.exc.SQLAlchemyError, error.DBOSException):  # otherwise the lease runs out
            self._queue.hand_back(self.name, self._queue.claimed(self.name))
            self._leases.leave()
        self._claim.release()
        logger.info("Worker %s has ended", self.name)


def _log_dbos_as_ours() -> None:
    """Let DBOS' errors go where our log goes, without those that are no faults."""
    theirs = logging.getLogger("dbos")
    theirs.handlers.clear()
    theirs.propagate = True
    theirs.setLevel(logging.ERROR)
    theirs.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], EXPECTED)))
