"""A real PostgreSQL in a folder of its own, which needs no rights beyond those of an ordinary user."""

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import psycopg.sql

from tests.free_port import free_port

USER = "postgres"  # from Debian's package
DEBIAN = Path("/usr/lib/postgresql")  # Debian's folder with programs of each release


def program(name: str) -> str:
    """The path of one of its programs."""
    found = shutil.which(name) or next((str(path) for path in sorted(DEBIAN.glob(f"*/bin/{name}"))), None)
    assert found is not None, f"{name} is not installed; scripts/setup_postgres installs it on Debian"
    return found


@dataclass
class Postgres:
    folder: Path
    port: int

    def database(self) -> str:
        """The address of a new, empty database."""
        name = f"jobs_{secrets.token_hex(4)}"
        with psycopg.connect(f"postgresql://ocr@127.0.0.1:{self.port}/postgres", autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        return f"postgresql://ocr@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._run(
            "pg_ctl", "-w", "-D", str(self.folder / "data"), "-o", options, "-l", str(self.folder / "log"), "start"
        )

    def stop(self) -> None:
        """Break all connections off and end."""
        self._run("pg_ctl", "-w", "-D", str(self.folder / "data"), "-m", "immediate", "stop")

    def make(self) -> None:
        self._run("initdb", "-D", str(self.folder / "data"), "-U", "ocr", "--auth=trust", "--no-sync")

    def _run(self, name: str, *arguments: str) -> None:
        """PostgreSQL refuses to run as root; Debian's package brings a user for it."""
        user = USER if os.geteuid() == 0 else None
        done = subprocess.run(
            [program(name), *arguments], cwd=self.folder, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert done.returncode == 0, done.stderr.decode()


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """It runs and is empty. Its folder is none of pytest's, which other users cannot enter."""
    with tempfile.TemporaryDirectory(prefix="ocr-postgres-") as folder:
        if os.geteuid() == 0:
            os.chown(folder, pwd.getpwnam(USER).pw_uid, -1)
        made = Postgres(Path(folder), free_port())
        made.make()
        made.start()
        try:
            yield made
        finally:
            made.stop()
