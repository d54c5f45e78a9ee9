"""The OCR API and its workers as real processes, and documents for them."""

import contextlib
import io
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pypdfium2

import jobs.main
from tests.forks import Fork
from tests.free_port import free_port

SECONDS = 120  # only a hang takes as long
ENDED = ("done", "failed", "cancelled")


def pdf(pages: int, seed: int = 0) -> bytes:
    """A PDF whose pages all differ."""
    with pypdfium2.PdfDocument.new() as document:
        for number in range(pages):
            document.new_page(300 + seed, 400 + number).close()
        data = io.BytesIO()
        document.save(data)
        return data.getvalue()


def until(condition: Any, seconds: float = SECONDS) -> Any:
    """What the condition gives, once it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds:g} s in vain"
        time.sleep(0.05)
    return found


class Client:
    """An OCR API on this machine, from the side of its clients."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, **how: Any) -> httpx.Response:
        return httpx.request(method, f"http://127.0.0.1:{self.port}{path}", timeout=SECONDS, **how)

    def get(self, path: str, **how: Any) -> httpx.Response:
        return self.ask("GET", path, **how)

    def post(self, path: str, **how: Any) -> httpx.Response:
        return self.ask("POST", path, **how)

    def submit(self, data: bytes, **fields: str) -> str:
        """The id of an accepted job."""
        answer = self.post("/v1/jobs", files={"file": ("document.pdf", data)}, data=fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/v1/jobs/{job}").json()
        return found

    def wait(self, job: str, *statuses: str) -> dict[str, Any]:
        """The job once it has one of these statuses, or has ended."""

        def known() -> dict[str, Any] | None:
            found = self.job(job)
            return found if found["status"] in (statuses or ENDED) else None

        found: dict[str, Any] = until(known)
        return found

    def result(self, job: str, wanted: str = "markdown") -> bytes:
        answer = self.get(f"/v1/jobs/{job}/result", params={"format": wanted})
        assert answer.status_code == 200, answer.text
        return answer.content


@dataclass
class Service(Client):
    """One process with its log, an API or a worker."""

    folder: Path
    kind: str  # run_api or run_worker
    environment: dict[str, str]
    before: str = ""  # Python that the process runs first
    port: int = field(default_factory=free_port)
    process: Fork | None = None

    def start(self) -> "Service":
        """Start it, again with the same port; a worker is not waited for."""
        environment = {
            "JOBS_FOLDER": str(self.folder),
            "JOBS_HOST": "127.0.0.1",
            "JOBS_PORT": str(self.port),
            "JOBS_LEASE_SECONDS": "2",
            **self.environment,
        }
        self.process = Fork(serve, self.kind, self.before, environment=environment, log=self.log_file)
        if self.kind == "run_api":
            until(self._answers)
        return self

    @property
    def log_file(self) -> Path:
        return self.folder / f"log-{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the service ended:\n{self.log}"
        with contextlib.suppress(httpx.TransportError):
            self.get("/health")
            return True
        return False

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(SECONDS)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> int:
        """End it as a service manager does; its exit code."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


def serve(kind: str, before: str) -> None:
    """Do what `python -m jobs` does, after some Python."""
    exec(before)
    getattr(jobs.main, kind)()


@contextlib.contextmanager
def running(folder: Path, kind: str = "run_api", before: str = "", **environment: str) -> Iterator[Service]:
    """A service that must end with 0, unless the test killed it; however often it was started."""
    folder.mkdir(parents=True, exist_ok=True)
    service = Service(folder, kind, environment, before).start()
    try:
        yield service
    finally:
        code = service.end()
    assert code in (0, -signal.SIGKILL), service.log
