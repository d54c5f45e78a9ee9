"""Full disks under the server's log, its metrics and the model store."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.servers import ROOT, running
from tests.faults.faulty import Faulty, ask_all, line_question

FULL = 'exec "$@" >/dev/full 2>&1'  # each write fails with ENOSPC
MAX_BYTES = 2**20  # a file's limit: less than the weights need


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_requests_are_answered_if_the_log_cannot_be_written(tmp_path: Path) -> None:
    with running(tmp_path, command=["sh", "-c", FULL, "sh", sys.executable, "-m", "bentoml", "serve"]) as server:
        (outcome,) = ask_all(Faulty(server, tmp_path), line_question())
        assert outcome.complete


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="macOS has no such call")
def test_the_metrics_have_their_disk_space_from_the_start(faulty: Faulty) -> None:
    """They are written through memory maps; on a full disk, the first write to a new page is a SIGBUS."""
    ask_all(faulty, line_question())
    files = list((faulty.server.log.parent / "bentoml" / "prometheus_multiproc_dir").glob(f"*_{faulty.worker.pid}.db"))
    assert files
    for file in files:
        assert file.stat().st_blocks * 512 >= file.stat().st_size >= 2 * used(file)


def used(file: Path) -> int:
    """Bytes in use of a file of prometheus_client, which begins with their number."""
    return int.from_bytes(file.read_bytes()[:4], sys.byteorder)


def test_an_import_onto_a_full_disk_leaves_no_partial_files(tmp_path: Path) -> None:
    def import_embedded(*limit: str) -> subprocess.CompletedProcess[str]:
        command = [*limit, sys.executable, "scripts/import_model.py", "models/tiny"]
        environment = os.environ | {"BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    full = import_embedded("sh", "-c", f'ulimit -f {MAX_BYTES // 512}; exec "$@"', "sh")
    assert full.returncode == 1
    assert "File too large" in full.stderr
    assert not list(tmp_path.rglob("model.safetensors"))
    assert import_embedded().returncode == 0
