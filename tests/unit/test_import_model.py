"""scripts/import_model.py as a user runs it: a process of its own, with a model store and a hub cache of its own."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.store import EMBEDDED

ROOT = Path(__file__).parents[2]
REPOSITORY = "PaddlePaddle/PaddleOCR-VL-1.5"
COMMIT = "1a2b3c4d" * 5
REFUSING = "http://127.0.0.1:9"  # the discard port: nobody listens

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    shutil.copytree(EMBEDDED, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    save_file({"a": np.zeros((2, 3), np.float16)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "BENTOML_"))}
        own = {
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": str(tmp_path / "home"),
            "HF_ENDPOINT": REFUSING,
            "HF_HOME": str(tmp_path / "hub"),
        }
        return subprocess.run(
            [sys.executable, ROOT / "scripts" / "import_model.py", *arguments],
            env=kept | own | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's API that a download uses: one repository with one commit."""

    files: dict[str, bytes]
    asked: list[str]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(f"{self.command} {path}")
        resolve = f"/{REPOSITORY}/resolve/{COMMIT}/"
        content = self.files.get(path.removeprefix(resolve)) if path.startswith(resolve) else self.api(path)
        self.send_response(404 if content is None else 200)
        if content is None:
            self.send_header("X-Error-Code", "RevisionNotFound")
        else:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if body and content:
            self.wfile.write(content)

    def api(self, path: str) -> bytes | None:
        if path in (f"/api/models/{REPOSITORY}/revision/main", f"/api/models/{REPOSITORY}/revision/{COMMIT}"):
            return json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": []}).encode()
        if path == f"/api/models/{REPOSITORY}/tree/{COMMIT}":
            entries = [
                {"type": "file", "path": name, "size": len(b), "oid": "0" * 40} for name, b in self.files.items()
            ]
            return json.dumps(entries).encode()
        return None

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(folder: Path) -> Iterator[ThreadingHTTPServer]:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    unwanted = {"modeling_paddleocr_vl.py": b"no", "PP-DocLayoutV2/model.safetensors": b"no"}
    handler = type("ThisHub", (Hub,), {"files": files | unwanted, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def address(hub: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{hub.server_port}"


def stored(home: Path) -> dict[str, set[str]]:
    """Tag -> names of files, as they lie in the store."""
    versions = (path for path in (home / "models").glob("*/*") if path.is_dir())
    return {f"{path.parent.name}:{path.name}": {file.name for file in path.iterdir()} for path in versions}


def test_a_folder_is_imported_and_again_is_no_work(run: Run, folder: Path, tmp_path: Path) -> None:
    first, second = run(folder), run(folder)
    (tag,) = stored(tmp_path / "home")
    assert tag.startswith("checkpoint:")
    assert first.stdout.startswith(f"Imported: {tag} (")
    assert second.stdout.startswith(f"Already in the store, nothing to do: {tag} (")
    assert (first.returncode, second.returncode) == (0, 0)


def test_a_name_replaces_the_folders(run: Run, folder: Path, tmp_path: Path) -> None:
    run(folder, "--name", "ours")
    (tag,) = stored(tmp_path / "home")
    assert tag.startswith("ours:")


def test_something_else_than_a_checkpoint_is_refused(run: Run, tmp_path: Path) -> None:
    answer = run(tmp_path)
    assert answer.returncode == 1
    assert answer.stderr == f"import_model: {tmp_path} is not a checkpoint: it has no config.json that can be read\n"


def test_a_source_that_is_nothing_is_told_what_would_be(run: Run) -> None:
    answer = run("/not/there")
    assert answer.returncode == 1
    assert "Use 'tiny', a local folder, or a hub id" in answer.stderr


def test_a_revision_of_a_folder_is_refused(run: Run, folder: Path) -> None:
    answer = run(folder, "--revision", "main")
    assert answer.returncode == 1
    assert "--revision is for hub ids" in answer.stderr


def test_a_hub_that_cannot_be_reached_is_told_in_seconds_with_what_to_do(run: Run) -> None:
    start = time.monotonic()
    answer = run(REPOSITORY)
    assert time.monotonic() - start < 30
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    assert f"{REPOSITORY} could not be fetched from {REFUSING}" in answer.stderr
    assert "import_model.py FOLDER" in answer.stderr


def test_a_hub_id_is_imported_at_the_commit_that_main_is(run: Run, hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    answer = run(REPOSITORY, HF_ENDPOINT=address(hub))
    assert answer.returncode == 0, answer.stderr
    assert f"main is now commit {COMMIT}" in answer.stdout
    wanted = {path.name for path in EMBEDDED.iterdir()} | {"model.safetensors", "model.yaml"}
    assert stored(tmp_path / "home") == {"paddleocr-vl:1.5-1a2b3c4d": wanted}


def test_a_downloaded_commit_is_imported_without_the_hub(run: Run, hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    run(REPOSITORY, HF_ENDPOINT=address(hub))
    answer = run(REPOSITORY, "--revision", COMMIT, "--name", "again")
    assert answer.returncode == 0, answer.stderr
    assert set(stored(tmp_path / "home")) == {"paddleocr-vl:1.5-1a2b3c4d", "again:1.5-1a2b3c4d"}


def test_a_revision_that_the_hub_lacks_is_named(run: Run, hub: ThreadingHTTPServer) -> None:
    answer = run(REPOSITORY, "--revision", "v9", HF_ENDPOINT=address(hub))
    assert answer.returncode == 1
    assert f"{REPOSITORY} has no revision 'v9'" in answer.stderr
