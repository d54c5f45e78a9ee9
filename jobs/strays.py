"""Jobs that a worker has in the database and does not know, since the answer to their claim was lost.

DBOS starts what the claim of a queue returns. Where the database keeps a claim and breaks off before it says so, no
worker reads its jobs: the one that has them lives, so that no other takes them over.
"""

import logging
from collections.abc import Callable, Iterable

from jobs.leases import BEATS
from jobs.queue import JobQueue

logger = logging.getLogger(__name__)


class Strays:
    """The jobs that were missing at the last looks of their worker.

    Looks are counted and not timed: one may fall between a claim and its start, or between the end of a job and its
    note, and two may follow each other at once where the process was stopped in between. Should a job that is handed
    back begin after all, DBOS stops the older execution at its next step.
    """

    def __init__(self, queue: JobQueue, worker: str, known: Callable[[], Iterable[str]]) -> None:
        """`known`: workflows that run in the process of this worker."""
        self._queue, self._worker, self._known = queue, worker, known
        self._looks: dict[str, int] = {}  # workflow -> in how many looks it has been missing without a break

    def hand_back(self) -> None:
        """Let jobs wait again that have been missing for a whole lease. Raises SQLAlchemyError."""
        missing = self._queue.claimed(self._worker) - set(self._known())
        looks = {workflow: self._looks.get(workflow, 0) + 1 for workflow in missing}
        strays = {workflow for workflow, count in looks.items() if count > BEATS}
        self._looks = {workflow: count for workflow, count in looks.items() if workflow not in strays}
        if strays:
            logger.warning("Claimed and not begun, so that they wait again: %s", ", ".join(sorted(strays)))
            self._queue.hand_back(self._worker, strays)
