"""What every worker does beside reading: takes over from dead workers, hands strays back, removes what is done with.

All of it may be done by several workers at once, and twice.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator

from dbos import DBOS, WorkflowStatus

from jobs.failures import ours
from jobs.leases import BEATS, Leases
from jobs.queue import QUEUES, JobQueue
from jobs.settings import JobSettings
from jobs.strays import Strays

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 5.0  # between two looks at workflows that have ended
ORPHANS_SECONDS = 3600.0  # between two looks for documents without a job
SETTLED = 60.0  # seconds after which no worker is at work on what has ended
DAY = 24 * 3600.0
AT_ONCE = 100
FAULTY = ["ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
FINISHED = ["SUCCESS", "CANCELLED", *FAULTY]


class Keeper(threading.Thread):
    """The thread that does it, until `stop`."""

    def __init__(self, settings: JobSettings, queue: JobQueue, leases: Leases, strays: Strays, version: str) -> None:
        super().__init__(name="keeper", daemon=True)
        self._settings, self._queue, self._leases, self._strays = settings, queue, leases, strays
        self._version = version
        self._stopping = threading.Event()
        self._due = {self._sweep: 0.0, self._remove_orphans: time.monotonic() + ORPHANS_SECONDS}
        self._every = {self._sweep: SWEEP_SECONDS, self._remove_orphans: ORPHANS_SECONDS}

    def stop(self) -> None:
        self._stopping.set()
        self.join(timeout=10)

    def run(self) -> None:
        while not self._stopping.is_set():
            self._try(self._leases.beat)
            self._try(self._take_over)
            self._try(self._strays.hand_back)
            self._try(self._show_life)
            for work, due in self._due.items():
                if time.monotonic() >= due:
                    self._try(work)
                    self._due[work] = time.monotonic() + self._every[work]
            self._stopping.wait(self._settings.jobs_lease_seconds / BEATS)

    def _try(self, work: Callable[[], None]) -> None:
        """Whatever fails now is done the next time."""
        try:
            work()
        except Exception as error:
            logger.warning("Keeping jobs in order is put off: %s", error)

    def _take_over(self) -> None:
        """Let unfinished jobs of workers that are gone go on. DBOS' recovery tells a job from one that runs again."""
        living = self._leases.living()
        gone = {
            str(workflow.executor_id)
            for workflow in _listed(["PENDING"], versions=[self._version])
            if workflow.executor_id not in living
        }
        if gone:
            logger.warning("The jobs of %s are taken over", ", ".join(sorted(gone)))
            DBOS._recover_pending_workflows(sorted(gone))
        known = {version["version_name"] for version in DBOS.list_application_versions()}
        old = known - set(living.values())
        for workflow in _listed(["PENDING", "ENQUEUED"], versions=sorted(old)) if old else []:
            self._run_anew(workflow)

    def _run_anew(self, workflow: WorkflowStatus) -> None:
        """A workflow of a version without workers: its steps may differ, so a new run begins, with all pages so far."""
        job = self._queue.records.get(_job(workflow))
        if job is not None and job.workflow == workflow.workflow_id:
            self._queue.run_again(job, ("queued", "running"))
        DBOS.delete_workflow(workflow.workflow_id)

    def _show_life(self) -> None:
        if self._settings.jobs_alive_file is not None:
            self._settings.jobs_alive_file.touch()

    def _sweep(self) -> None:
        """Forget workflows that have ended, whose jobs say how, and remove jobs that have expired."""
        while settled := [one for one in _listed(FINISHED, AT_ONCE) if _since(one) > SETTLED]:
            for workflow in settled:
                if workflow.status in FAULTY:
                    said = f"the workflow ended with {workflow.status}; the log of its worker says why"
                    run = int(workflow.workflow_id.rsplit(".", 1)[1])
                    self._queue.records.end(_job(workflow), run, "failed", ours("internal", said))
            DBOS.delete_workflows([workflow.workflow_id for workflow in settled])
        for job in self._expired():
            found = self._queue.records.get(job)
            if found is not None:
                self._queue.remove(found)

    def _expired(self) -> Iterator[str]:
        before = time.time() - self._settings.jobs_retention.total_seconds()
        while ids := self._queue.records.ended_before(before, AT_ONCE):
            yield from ids

    def _remove_orphans(self) -> None:
        """Documents whose request was refused or broke off before there was a job."""
        old = [name for name in self._queue.store.names() if name.startswith("job_") and _age(name) > DAY]
        for start in range(0, len(old), AT_ONCE):
            part = old[start : start + AT_ONCE]
            for name in set(part) - self._queue.records.known(part):
                self._queue.store.remove(name)


def _listed(statuses: list[str], limit: int | None = None, versions: list[str] | None = None) -> list[WorkflowStatus]:
    """Workflows of jobs, the oldest first, without what went in and came out."""
    return DBOS.list_workflows(
        status=statuses,
        queue_name=list(QUEUES.values()),
        app_version=versions,
        limit=limit,
        load_input=False,
        load_output=False,
    )


def _since(workflow: WorkflowStatus) -> float:
    """Seconds since a workflow changed."""
    return time.time() - (workflow.updated_at or 0) / 1000


def _job(workflow: WorkflowStatus) -> str:
    return workflow.workflow_id.rsplit(".", 1)[0]


def _age(job: str) -> float:
    """Seconds since an id was made."""
    try:
        return time.time() - int(job[4:16], 16) / 1000
    except ValueError:
        return 0.0
