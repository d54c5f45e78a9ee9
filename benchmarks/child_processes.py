"""Child processes of the benchmarks: servers, and tasks that report JSON lines on standard output.

No child outlives the `with` block that started it.
"""

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
LOG_LINES = 20  # last ones of a failed child's log, in the error
# The checkpoint folder is complete, so no child needs the network.
OFFLINE = {"HF_HUB_OFFLINE": "1", "BENTOML_DO_NOT_TRACK": "True"}


class ChildError(RuntimeError):
    """A process that ended too early or was not ready in time; the message includes the end of its log."""


@contextlib.contextmanager
def child(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    *,
    piped: bool = True,
    program: str = sys.executable,
) -> Iterator[subprocess.Popen[str]]:
    """A process, of Python where no other program is named.

    Its stderr goes to `log`, and so does its stdout unless stdin and stdout are `piped`. It runs in a session of its
    own, so that only this process passes Ctrl-C on to it.
    """
    with (
        log.open("a") as out,
        subprocess.Popen(
            [program, *command],
            cwd=ROOT,
            env={**os.environ, **OFFLINE, **(environment or {})},
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else out,
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
    """Terminate, then kill: the process and its descendants, which may be in sessions of their own."""
    descendants = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    try:
        process.terminate()
        process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        pass  # killed below
    finally:
        for descendant in descendants:
            with contextlib.suppress(psutil.NoSuchProcess):
                descendant.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the group is empty; on macOS the latter
            os.killpg(process.pid, signal.SIGKILL)


def next_message(process: subprocess.Popen[str], log: Path) -> Any:
    """The next JSON line of a piped process. Raises ChildError if it has ended."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise ChildError(f"{log.stem} ended:\n{tail(log)}")
    return json.loads(line)


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])


@contextlib.contextmanager
def server(
    command: Sequence[str],
    ready: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    program: str = sys.executable,
) -> Iterator[tuple[str, float]]:
    """A server: its URL, and the seconds from process start until GET `ready` returned 200. Raises ChildError."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    started = time.monotonic()
    address = ["--host", "127.0.0.1", "--port", str(port)]
    running = child([*command, *address], log, environment, piped=False, program=program)
    with running as process, httpx.Client(timeout=5) as client:
        while not is_ready(client, url + ready):
            if process.poll() is not None or time.monotonic() - started > SECONDS_TO_START:
                raise ChildError(f"{log.stem} did not become ready:\n{tail(log)}")
            time.sleep(POLLING_SECONDS)
        yield url, time.monotonic() - started


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """A program that keeps one core busy."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def is_ready(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.TransportError:
        return False  # the port is not bound yet, or not listening


def import_checkpoint(folder: Path, home: Path, log: Path) -> str:
    """Put the checkpoint into a new model store at `home`; its tag there. Raises ChildError."""
    command = [sys.executable, "scripts/import_model.py", str(folder)]
    with log.open("w") as out:
        environment = os.environ | OFFLINE | {"BENTOML_HOME": str(home)}
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=out, text=True)
    tag = re.search(r"Imported: (\S+)", done.stdout)
    if tag is None:
        raise ChildError(f"{folder} cannot be imported:\n{tail(log)}")
    # All servers read the same file, so that the disk cache serves them all alike.
    for copy in (home / "models" / tag[1].replace(":", "/")).glob("*.safetensors"):
        copy.unlink()
        copy.symlink_to(folder.resolve() / copy.name)
    return tag[1]


def our_server(
    tag: str, home: Path, log: Path, settings: Mapping[str, str] | None = None
) -> contextlib.AbstractContextManager[tuple[str, float]]:
    environment = {"BENTOML_HOME": str(home), **(settings or {})}
    return server(["-m", "bentoml", "serve", "--arg", f"model={tag}"], "/readyz", log, environment)
