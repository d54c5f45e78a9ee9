"""Turns: jobs of one priority go by turns of their clients, however many each submits.

Each job gets a number when it is submitted: one more than its client's last waiting job, but not less than that of the
next waiting job of all. So a client's first job stands beside the others' next ones, and not behind all of theirs.
"""

import sqlalchemy as sa

from jobs.job import Priority
from jobs.tables import jobs

MAX_TURN = 2**31 - 1  # DBOS' largest priority; a queue that never empties reaches it after two thousand million jobs


def next_turn(connection: sa.Connection, priority: Priority, client: str) -> int:
    """The turn of a new job, from 1. DBOS takes the smallest first."""
    waiting = sa.select(sa.func.min(jobs.c.turn)).where(jobs.c.status == "queued", jobs.c.priority == priority)
    own = sa.select(sa.func.max(jobs.c.turn)).where(
        jobs.c.status == "queued", jobs.c.priority == priority, jobs.c.client == client
    )
    first, last = connection.execute(waiting).scalar(), connection.execute(own).scalar()
    return min(MAX_TURN, max(first or 1, 1 if last is None else last + 1))
