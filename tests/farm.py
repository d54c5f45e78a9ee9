"""Several workers on one PostgreSQL, as processes on one machine."""

import signal
from contextlib import ExitStack
from pathlib import Path

from tests.ocr_service import Service, running


class Farm:
    """An API without a worker, and workers that are started one by one, all with one database and one store."""

    def __init__(self, folder: Path, stack: ExitStack, environment: dict[str, str]) -> None:
        self._folder, self._stack, self._environment = folder, stack, environment
        self.workers: list[Service] = []
        self.api = self._stack.enter_context(running(folder, JOBS_WORKER="0", **environment))

    def worker(self, name: str, version: str | None = None, **more: str) -> Service:
        """`version`: of the release that it says it is."""
        environment = self._environment | {"JOBS_WORKER_ID": name} | more
        setting = "" if version is None else f"import jobs.worker; jobs.worker.__version__ = {version!r}; "
        started = self._stack.enter_context(running(self._folder, "run_worker", setting, **environment))
        self.workers.append(started)
        return started

    def logs(self) -> str:
        """What the workers say, for a test that fails."""
        return "\n\n".join(worker.log for worker in self.workers)

    def tell_to_end(self) -> None:
        """So that they end at once and not one after another."""
        for service in (self.api, *self.workers):
            for number in (signal.SIGCONT, signal.SIGTERM):
                service.signal(number)

    def processes(self) -> list[int]:
        """Ids of the API's process and of the workers'."""
        return [service.process.pid for service in (self.api, *self.workers) if service.process is not None]
