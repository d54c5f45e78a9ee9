"""The name of a worker, which no other living one has, and the refusal of a second worker on an SQLite file."""

import contextlib
import fcntl
import os
import socket
from typing import IO

import sqlalchemy as sa

from environment import SettingsError

ONLY = "local"  # the name of the one worker on an SQLite file
MOST = 1000  # workers on one host
LOCK = "SELECT pg_try_advisory_lock(hashtextextended('ocr_worker', 0) # hashtextextended(:name, 0))"


class Claim:
    """A worker's name, held until it is released or the process ends, however it ends."""

    def __init__(self, engine: sa.Engine, wanted: str | None) -> None:
        """`wanted`: a name that must be free; None: the first free one of this host. Raises SettingsError."""
        self._file: IO[str] | None = None
        self._connection: sa.Connection | None = None
        if engine.dialect.name == "sqlite":
            self.name = wanted or ONLY
            self._file = _locked(str(engine.url.database))
        else:
            self._connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self.name = self._first_free(self._connection, wanted)

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._connection is not None:
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                self._connection.invalidate()  # ends the session, and with it the lock
                self._connection.close()

    def _first_free(self, connection: sa.Connection, wanted: str | None) -> str:
        host = socket.gethostname()
        for name in [wanted] if wanted else (f"{host}:{number}" for number in range(1, MOST + 1)):
            if connection.execute(sa.text(LOCK), {"name": name}).scalar():
                return name
        raise SettingsError(f"A worker named {wanted or host} runs already. Give each a JOBS_WORKER_ID of its own.")


def _locked(database: str) -> IO[str]:
    path = f"{database}.worker"
    file = open(path, "a+")  # noqa: SIM115 - stays open as long as the worker lives
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        other = file.read().strip() or "unknown"
        file.close()
        raise SettingsError(
            f"{database} has a worker already, process {other}: an SQLite file takes one. Raise JOBS_DOCUMENTS and "
            "JOBS_PAGES for more at once, or use JOBS_DATABASE_URL=postgresql://... for more workers."
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
