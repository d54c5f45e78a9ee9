"""How the server starts and ends."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from models.store import EMBEDDED
from tests.e2e.conftest import ROOT, SECONDS_TO_START, start, stop
from tests.e2e.test_clients import MODEL, messages


def test_health_answers_while_the_model_loads_and_readiness_waits_for_it(tmp_path: Path) -> None:
    server = start(tmp_path)
    seen: list[int] = []
    end = time.monotonic() + SECONDS_TO_START
    while not seen or seen[-1] == 503:
        assert time.monotonic() < end, server.log.read_text()
        try:
            ready = httpx.get(f"{server.url}/readyz", timeout=30)
            health = httpx.get(f"{server.url}/health", timeout=30)
        except httpx.TransportError:
            continue  # the port is not bound yet
        if health.status_code == 503:
            assert ready.status_code == 503
            assert health.json()["status"] == "loading"
        seen.append(health.status_code)
    stop(server)
    assert seen[0] == 503
    assert seen[-1] == 200


def test_sigterm_lets_a_running_stream_finish_and_exits_with_0(tmp_path: Path) -> None:
    server = start(tmp_path)
    server.wait_until_ready()
    stream = server.client().chat.completions.create(model=MODEL, messages=messages(), stream=True)
    chunks = iter(stream)
    next(chunks)
    server.process.terminate()
    assert list(chunks)[-1].choices[0].finish_reason == "stop"
    assert server.process.wait(60) == 0


@pytest.mark.parametrize("damage", ["truncated", "misshapen"])
def test_a_model_that_cannot_be_loaded_ends_the_server_with_1_and_says_why(tmp_path: Path, damage: str) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(EMBEDDED, broken)
    if damage == "misshapen":
        config = broken / "config.json"
        config.write_text(config.read_text().replace('"num_hidden_layers": 4', '"num_hidden_layers": 5'))
    home = tmp_path / "bentoml"
    command = [sys.executable, "scripts/import_model.py", str(broken)]
    environment = os.environ | {"BENTOML_HOME": str(home)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    tag = next(word for word in done.stdout.split() if word.startswith("broken:"))
    if damage == "truncated":
        (weights,) = home.rglob("model.safetensors")
        weights.write_bytes(weights.read_bytes()[:100_000])
    server = start(tmp_path, "--arg", f"model={tag}")
    assert server.process.wait(SECONDS_TO_START) == 1
    assert "cannot be loaded" in server.log.read_text()


def test_an_unknown_setting_value_ends_the_server_and_is_named(tmp_path: Path) -> None:
    server = start(tmp_path, DTYPE="int7")
    assert server.process.wait(SECONDS_TO_START) != 0
    assert "Setting DTYPE has value 'int7'" in server.log.read_text()
