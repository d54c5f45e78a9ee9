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
from typing import Any

import httpx
from openai import OpenAI

ROOT = Path(__file__).resolve().parents[2]

SECONDS_TO_START = 300  # unless something hangs
HANG_SECONDS = 300  # for an answer or event that only a hang delays as long: no test fails for being slow


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
            base_url=f"{self.url}/v1",
            api_key="null",
            max_retries=0,
            timeout=HANG_SECONDS,
            _strict_response_validation=True,
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


def wait_until(condition: Callable[[], bool], seconds: float = HANG_SECONDS) -> None:
    """Wait for an event, with a bound that only a hang reaches."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain"
        time.sleep(0.02)


@contextmanager
def started(
    folder: Path,
    *options: str,
    command: Sequence[str | Path] = (sys.executable, "-m", "bentoml", "serve"),
    cwd: str | Path = ROOT,
    **environment: str,
) -> Iterator[Server]:
    """A server that may not be ready yet and may end in any way."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [*command, "--host", "127.0.0.1", "--port", str(port), *options]
    environment = {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"} | environment
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(line, cwd=cwd, env=os.environ | environment, stdout=out, stderr=out)
    server = Server(f"http://127.0.0.1:{port}", process, log)
    try:
        yield server
    finally:
        for client in server.clients:
            client.close()
        process.terminate()
        process.wait(HANG_SECONDS)


@contextmanager
def running(folder: Path, *options: str, **how: Any) -> Iterator[Server]:
    """A server that is ready and must end with 0; otherwise as `started`."""
    with started(folder, *options, **how) as server:
        server.wait_until_ready()
        yield server
    assert server.process.returncode == 0, f"the server ended in {server.process.returncode}:\n{server.log.read_text()}"


def half_a_request(server: Server) -> socket.socket:
    """A client that sends half a request and never the rest."""
    address = httpx.URL(server.url)
    client = socket.create_connection((address.host, address.port))
    client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\n{")
    return client


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}
