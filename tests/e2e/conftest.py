"""A real `bentoml serve` process on a free port, with a model store of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
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
        end = time.monotonic() + SECONDS_TO_START
        while True:
            assert self.process.poll() is None, f"the server ended:\n{self.log.read_text()}"
            assert time.monotonic() < end, f"the server is not ready:\n{self.log.read_text()}"
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass  # the port is not bound yet
            time.sleep(0.1)

    def client(self) -> OpenAI:
        """Strict: every field of a response is checked against the type that OpenAI documents."""
        client = OpenAI(
            base_url=f"{self.url}/v1", api_key="null", max_retries=0, timeout=60, _strict_response_validation=True
        )
        self.clients.append(client)
        return client


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


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With no model chosen and an empty model store."""
    options = {"SLOTS": "4", "SERVED_MODEL_NAMES": "our-ocr", "ALLOWED_HOSTS": "localhost"}
    server = start(tmp_path_factory.mktemp("server"), **options)
    try:
        server.wait_until_ready()
        yield server
    finally:
        stop(server)
