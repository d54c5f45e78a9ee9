"""Processes for tests, forked from one that has imported what they need, which would take each of them two seconds."""

import multiprocessing
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ["jobs.main", "tests.page_server"]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(NEEDED)


class Fork:
    """A process that does some work, with the names that subprocess.Popen has."""

    def __init__(
        self, work: Callable[..., None], *arguments: Any, environment: Mapping[str, str] = {}, log: Path | None = None
    ) -> None:
        """`work`: a function of a module; `environment`: what it has beside ours."""
        if log is not None:
            log.touch()
        everything = (work, arguments, {**os.environ, **environment}, log)
        self._process = _context.Process(target=_run, args=everything, daemon=True)  # none outlives a test run
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        """Its exit code: negative for a signal. Raises TimeoutExpired."""
        self._process.join(seconds)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", seconds)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _run(
    work: Callable[..., None], arguments: tuple[Any, ...], environment: Mapping[str, str], log: Path | None
) -> None:
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    if log is not None:
        with log.open("ab") as file:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
    work(*arguments)
