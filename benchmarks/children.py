"""Child processes of `bench.py compare`: servers, and tasks that answer in JSON lines on standard output."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent


SECONDS_TO_START = 600


SECONDS_TO_END = 40  # our server drains for up to 30


POLLING_SECONDS = 0.02


# The checkpoint's folder is complete: no process needs the network.
OFFLINE = {"HF_HUB_OFFLINE": "1", "BENTOML_DO_NOT_TRACK": "True"}


# The minimum that a server does before it is ready: import PyTorch, read every weight.
READ_WEIGHTS = """
import sys, torch
from safetensors import safe_open
for file in sys.argv[1:]:
    with safe_open(file, framework="pt") as tensors:
        weights = [tensors.get_tensor(name).clone() for name in tensors.keys()]
print("true", flush=True)
"""


class ChildError(RuntimeError):
    """A process that ended too early or was not ready in time; the message has the end of its log."""


@contextlib.contextmanager
def child(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, *, talks: bool = True
) -> Iterator[subprocess.Popen[str]]:
    """A Python process; its errors go to `log`, and so does its output unless it `talks`.

    It has a session of its own, so that Ctrl-C reaches it only through us.
    """
    with (
        log.open("a") as out,
        subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, **OFFLINE, **(environment or {})},
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talks else out,
            stderr=out,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[str]) -> None:
    """End the process and all that it started, gently, then by force; they may have sessions of their own."""
    started = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    try:
        process.terminate()
        process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        pass  # then by force
    finally:
        for one in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):  # none is left
            os.killpg(process.pid, signal.SIGKILL)


def next_line(process: subprocess.Popen[str], log: Path) -> Any:
    """The next JSON line of a process that talks. Raises ChildError if it ended instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise ChildError(f"{log.stem} ended:\n{tail(log)}")
    return json.loads(line)


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def task(name: str, *arguments: object) -> list[str]:
    return ["-m", "benchmarks.peers", name, *map(str, arguments)]


def outcome(log: Path, name: str, *arguments: object) -> Any:
    """The one JSON line of a task that ends after it. Raises ChildError."""
    with child(task(name, *arguments), log) as process:
        return next_line(process, log)


@contextlib.contextmanager
def server(
    command: Sequence[str], ready: str, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, float]]:
    """A server: its URL, and seconds from its process' start until GET `ready` was 200. Raises ChildError."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    started = time.monotonic()
    where = ["--host", "127.0.0.1", "--port", str(port)]
    with child([*command, *where], log, environment, talks=False) as process, httpx.Client(timeout=5) as client:
        while not answers(client, url + ready):
            if process.poll() is not None or time.monotonic() - started > SECONDS_TO_START:
                raise ChildError(f"{log.stem} did not become ready:\n{tail(log)}")
            time.sleep(POLLING_SECONDS)
        yield url, time.monotonic() - started


def answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.TransportError:
        return False  # the port is not bound, or not listening yet


def import_checkpoint(folder: Path, home: Path, log: Path) -> str:
    """Put the checkpoint into a new model store at `home`; its tag there. Raises ChildError."""
    command = [sys.executable, "scripts/import_model.py", str(folder)]
    with log.open("w") as out:
        environment = os.environ | OFFLINE | {"BENTOML_HOME": str(home)}
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=out, text=True)
    tag = re.search(r"Imported: (\S+)", done.stdout)
    if tag is None:
        raise ChildError(f"{folder} cannot be imported:\n{tail(log)}")
    # All read the same file, so the disk cache that one has filled serves the others too.
    for copy in home.glob("models/*/*/*.safetensors"):
        copy.unlink()
        copy.symlink_to(folder.resolve() / copy.name)
    return tag[1]


def our_server(tag: str, home: Path, log: Path) -> contextlib.AbstractContextManager[tuple[str, float]]:
    return server(["-m", "bentoml", "serve", "--arg", f"model={tag}"], "/readyz", log, {"BENTOML_HOME": str(home)})


def transformers_server(folder: Path, device: str, log: Path) -> contextlib.AbstractContextManager[tuple[str, float]]:
    return server(task("transformers", "serve", folder, "--device", device), "/health", log)


def read_seconds(files: Sequence[Path], log: Path) -> float:
    """Seconds that a new process takes for the minimum of a server's start. Raises ChildError."""
    started = time.monotonic()
    with child(["-c", READ_WEIGHTS, *map(str, files)], log) as process:
        next_line(process, log)
        return time.monotonic() - started
