"""A real `bentoml serve` process on a free port, with a model store of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

ROOT = Path(__file__).resolve().parents[2]
SECONDS_TO_START = 120


@dataclass
class Server:
    url: str
    process: subprocess.Popen[bytes]
    log: Path
    clients: list[OpenAI] = field(default_factory=list)

    def wait_until_ready(self) -> None:
        wait_until_ready(self.url, lambda: self.process.poll() is None, self.log.read_text)

    def client(self) -> OpenAI:
        """Strict: every field of a response is checked against the type that OpenAI documents."""
        client = OpenAI(
            base_url=f"{self.url}/v1", api_key="null", max_retries=0, timeout=60, _strict_response_validation=True
        )
        self.clients.append(client)
        return client


def wait_until_ready(
    url: str, is_running: Callable[[], bool], log: Callable[[], str], seconds: float = SECONDS_TO_START
) -> None:
    end = time.monotonic() + seconds
    while True:
        assert is_running(), f"the server ended:\n{log()}"
        assert time.monotonic() < end, f"the server is not ready:\n{log()}"
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass  # the port is not bound yet
        time.sleep(0.1)


def start(
    folder: Path, *options: str, command: Sequence[str] = (sys.executable, "-m", "bentoml", "serve"), **environment: str
) -> Server:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*command, "--host", "127.0.0.1", "--port", str(port)]
    environment = {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"} | environment
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([*command, *options], cwd=ROOT, env=os.environ | environment, stdout=out, stderr=out)
    return Server(f"http://127.0.0.1:{port}", process, log)


def stop(server: Server) -> int:
    for client in server.clients:
        client.close()
    server.process.terminate()
    return server.process.wait(60)


@contextmanager
def running(folder: Path, **environment: str) -> Iterator[Server]:
    server = start(folder, **environment)
    try:
        server.wait_until_ready()
        yield server
    finally:
        stop(server)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With no model chosen and an empty model store."""
    options = {"SLOTS": "4", "SERVED_MODEL_NAMES": "our-ocr", "ALLOWED_HOSTS": "localhost"}
    with running(tmp_path_factory.mktemp("server"), **options) as server:
        yield server
