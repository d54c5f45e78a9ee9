"""A PostgreSQL that breaks off: sessions that end right before a statement."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from jobs.queue import JobQueue
from jobs.store import Store
from jobs.tables import connect, migrate
from tests.jobs import ROOMY
from tests.postgres import Postgres

Break = Callable[[sa.Connection, Any], None]


@contextmanager
def queue_on(database: Postgres, folder: Path) -> Iterator[JobQueue]:
    """A queue in a database of its own, with documents in a folder."""
    engine = connect(database.database().replace("postgresql://", "postgresql+psycopg://"))
    migrate(engine)
    made = JobQueue(engine, Store(str(folder / "documents")), ROOMY)
    yield made
    made.close()
    engine.dispose()


def terminate(connection: sa.Connection, cursor: Any) -> None:
    """End the session, as a server that is restarted does."""
    cursor.execute("SELECT pg_backend_pid()")
    (session,) = cursor.fetchone()
    with connection.engine.connect() as other:
        other.execute(sa.text("SELECT pg_terminate_backend(:session)"), {"session": session})


def idle(_: sa.Connection, cursor: Any) -> None:
    """Be idle in a transaction for longer than the server allows, as a process that is stopped."""
    cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 50")
    time.sleep(0.5)


def break_off_once(engine: sa.Engine, statement: str, how: Break) -> list[str]:
    """Let a session end right before its first statement of this kind; the list names what was broken off."""
    broken: list[str] = []

    def before(connection: sa.Connection, cursor: Any, said: str, *_: object) -> None:
        if not broken and said.startswith(statement):
            broken.append(said)
            how(connection, cursor)

    event.listen(engine, "before_cursor_execute", before)
    return broken
