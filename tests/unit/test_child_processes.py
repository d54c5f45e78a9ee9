"""Child processes of the benchmarks: their messages, errors and ends."""

from pathlib import Path

import psutil
import pytest

from benchmarks.child_processes import ChildError, child, import_checkpoint, next_message, server
from benchmarks.process_memory import server_processes
from tests.checkpoints import TINY, write_checkpoint


def interrupted(log: Path, code: str, processes: list[psutil.Process]) -> None:
    """Press Ctrl-C while a child and a child of its own run; both are added to `processes`."""
    with child(["-c", code], log) as process:
        processes += [psutil.Process(process.pid), psutil.Process(next_message(process, log))]
        raise KeyboardInterrupt


WAITING = "import time; time.sleep(600)"
WITH_A_CHILD = f"""
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", {WAITING!r}], start_new_session=True).pid, flush=True)
{WAITING}
"""


def test_a_child_and_its_descendants_are_ended_after_an_interrupt(tmp_path: Path) -> None:
    processes: list[psutil.Process] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "child.log", WITH_A_CHILD, processes)
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_a_child_runs_in_a_session_of_its_own(tmp_path: Path) -> None:
    with child(["-c", "import os; print(os.getsid(0) == os.getpid() or 0, flush=True)"], tmp_path / "log") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"


def test_the_error_of_a_child_that_ends_early_has_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "floor.log"
    with child(["-c", "raise SystemExit('no such model')"], log) as process, pytest.raises(ChildError) as failure:
        next_message(process, log)
    assert str(failure.value) == "floor ended:\nno such model"


def test_a_server_is_awaited_until_ready_and_ended_afterwards(tmp_path: Path) -> None:
    code = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()
HTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""
    with server(["-c", code], "/readyz", tmp_path / "server.log") as (url, seconds):
        assert 0 < seconds < 60
        (process,) = server_processes(url)
    assert not process.is_running()


def test_the_error_of_a_server_that_does_not_start_has_the_end_of_its_log(tmp_path: Path) -> None:
    with (
        pytest.raises(ChildError, match=r"ours did not become ready:\nno weights"),
        server(["-c", "raise SystemExit('no weights')"], "/", tmp_path / "ours.log"),
    ):
        pass


def test_each_imported_checkpoint_keeps_its_own_weights(tmp_path: Path) -> None:
    """Bug: after an import into the same store, the first checkpoint had the weights of the second."""
    folders = [TINY, write_checkpoint(tmp_path / "other")]
    for folder in folders:
        import_checkpoint(folder, tmp_path / "home", tmp_path / "log")
    found = {file.resolve().parent for file in (tmp_path / "home" / "models").glob("*/*/*.safetensors")}
    assert found == {folder.resolve() for folder in folders}
