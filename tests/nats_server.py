"""A real nats-server in a folder of its own, and what a client of the queue does with it."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import nats
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from tests.forks import ROOT
from tests.free_port import free_port
from tests.ocr_service import SECONDS, until

T = TypeVar("T")

TOOLS = ROOT / ".venv-deploy" / "bin"


@dataclass
class NatsServer:
    folder: Path
    port: int = field(default_factory=free_port)
    max_payload: int = 2**20  # bytes of a message
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, again with the same port and what it has kept."""
        search = os.pathsep.join((str(TOOLS), os.environ["PATH"], "/usr/sbin"))  # not on every user's path
        program = shutil.which("nats-server", path=search)
        assert program is not None, "scripts/setup_deploy installs nats-server on Debian"
        configuration = self.folder / "nats.conf"
        configuration.write_text(f"max_payload: {self.max_payload}\n")
        where = ["-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(self.folder)]
        line = [program, "-c", str(configuration), *where]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(line, stdout=log, stderr=log)
        until(self._answers)

    def _answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(SECONDS)

    def ask(self, work: Callable[[JetStreamContext], Awaitable[T]]) -> T:
        """What a client does with the server."""

        async def asked() -> T:
            async with self._stream() as stream:
                return await work(stream)

        return asyncio.run(asked())

    @asynccontextmanager
    async def _stream(self) -> AsyncIterator[JetStreamContext]:
        client = await nats.connect(self.url)
        try:
            yield client.jetstream()
        finally:
            await client.close()

    def publish(self, data: Any, subject: str = "ocr.jobs") -> None:
        """A job, or any other data, as a CloudEvent."""
        event = {"specversion": "1.0", "id": "1", "source": "tests", "type": "com.simple-ocr.job.created", "data": data}
        self.publish_raw(json.dumps(event).encode(), subject)

    def publish_raw(self, body: bytes, subject: str = "ocr.jobs", **headers: str) -> None:
        self.ask(lambda stream: stream.publish(subject, body, headers=headers or None))

    def events(self, name: str = "OCR_EVENTS") -> list[dict[str, Any]]:
        """All messages of a stream, each with its subject."""

        async def all_of(stream: JetStreamContext) -> list[dict[str, Any]]:
            try:
                state = (await stream.stream_info(name)).state
            except NotFoundError:
                return []
            found = [
                await stream.get_msg(name, number) for number in range(max(1, state.first_seq), state.last_seq + 1)
            ]
            return [json.loads(message.data or b"") | {"nats_subject": message.subject} for message in found]

        return self.ask(all_of) if self._answers() else []

    def wait_for(self, subject: str, count: int = 1, job: str | None = None) -> list[dict[str, Any]]:
        """Events of a subject, once there are so many."""

        def found() -> list[dict[str, Any]] | None:
            told = [one for one in self.events() if one["nats_subject"] == subject and job in (None, one["subject"])]
            return told if len(told) >= count else None

        events: list[dict[str, Any]] = until(found)
        return events

    def consumer(self, name: str = "ocr-worker") -> Any:
        return self.ask(lambda stream: stream.consumer_info("OCR_JOBS", name))

    def is_empty(self) -> bool:
        """Whether no message is held or waits to be delivered."""
        state = self.consumer()
        return bool(state.num_ack_pending == 0 and state.num_pending == 0)


@contextmanager
def nats_server(folder: Path, max_payload: int = 2**20) -> Iterator[NatsServer]:
    folder.mkdir(exist_ok=True)
    server = NatsServer(folder, max_payload=max_payload)
    server.start()
    yield server
    server.kill()
