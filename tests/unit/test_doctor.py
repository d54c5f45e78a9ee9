"""What `paddleocr-vl doctor` finds, and that the command needs nothing of the server."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cli.checks import port_taken
from engine import device
from engine.device import unused_gpu

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "cli.main", *arguments]
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "COLUMNS": "200"}
    return subprocess.run(line, cwd=ROOT, env=os.environ | quiet | environment, capture_output=True, text=True)


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose driver is loaded, and whose GPU PyTorch does not see."""
    file = tmp_path / "version"
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Wed Oct 27 21:21:55 UTC 2021\n")
    monkeypatch.setattr(device, "DRIVER", file)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_without_a_driver_there_is_nothing_to_explain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "DRIVER", tmp_path / "none")
    assert unused_gpu() is None


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("cuda", "visible", "said"),
    [
        (None, None, "is a build for CPUs. Install one for GPUs: TORCH_BUILD=cu130 scripts/setup"),
        ("12.6", None, "built for CUDA 12.6, cannot use it with driver 470.82.01. Install a newer one"),
        ("12.6", "", "sees none with CUDA_VISIBLE_DEVICES=''"),
    ],
)
def test_a_gpu_that_is_not_used_is_explained(
    cuda: str | None, visible: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert said in (unused_gpu() or "")


def test_doctor_names_what_keeps_the_server_from_starting_and_what_to_type(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert port_taken("127.0.0.1", int(port)) is not None
        other.close()
        where = {"BENTOML_HOME": str(tmp_path), "HOST": "127.0.0.1", "PORT": port}
        done = command("doctor", MODEL="none:1", LAYOUT="off", **where)
    assert done.returncode == 1, done.stdout
    assert "bad  MODEL is none:1, and the model store has no none:1." in done.stdout
    assert f"the page will be at http://127.0.0.1:{port}/" in done.stdout


def test_serve_says_in_one_line_that_its_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        options = ["--host", "127.0.0.1", "--port", str(other.getsockname()[1])]
        done = command("serve", *options)
        script = subprocess.run([ROOT / "scripts/serve", *options], capture_output=True, text=True)
    assert "cannot be used: Address already in use. Choose another by --port." in done.stderr
    assert "is already in use. Choose another: scripts/serve --port 8002" in script.stderr
    for one in (done, script):
        assert (one.returncode, len(one.stderr.splitlines())) == (1, 1)


def test_the_command_loads_nothing_of_the_server() -> None:
    heavy = "'torch', 'bentoml', 'transformers', 'fastapi', 'engine', 'api'"
    code = f"import sys, cli.main; print({{{heavy}}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
