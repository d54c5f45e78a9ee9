"""How the server starts and ends."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from openai.types.chat import ChatCompletionChunk

from models.store import EMBEDDED
from tests import hub
from tests.e2e.conftest import ROOT, SECONDS_TO_START, Server, running, start, stop
from tests.e2e.test_clients import MODEL, messages

LONG: Any = {"ignore_eos": True, "max_tokens": 8000}  # minutes, if nothing ends it
FAR_LESS = 30  # seconds


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


def running_stream(server: Server, **options: Any) -> Iterator[ChatCompletionChunk]:
    """What follows the first piece of text."""
    create = server.client().chat.completions.create
    chunks = create(model=MODEL, messages=messages(), stream=True, extra_body=options)
    while not next(chunks).choices[0].delta.content:
        pass
    return chunks


def half_a_request(server: Server) -> socket.socket:
    """A client that never sends the rest."""
    address = httpx.URL(server.url)
    client = socket.create_connection((address.host, address.port))
    client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\n{")
    return client


def test_sigterm_lets_a_running_stream_finish_and_exits_with_0(tmp_path: Path) -> None:
    with running(tmp_path, DRAIN_SECONDS="600") as server:
        chunks = running_stream(server)
        server.process.terminate()
        assert list(chunks)[-1].choices[0].finish_reason == "stop"
        assert server.process.wait(60) == 0


def test_sigterm_ends_what_still_runs_after_the_drain_seconds_and_exits_with_0(tmp_path: Path) -> None:
    """BentoML waited for running requests as long as they took. Workers get the signal twice where systemd sends it."""
    with running(tmp_path, DRAIN_SECONDS="1") as server, half_a_request(server):
        chunks = running_stream(server, **LONG)
        workers = psutil.Process(server.process.pid).children()
        signalled = time.monotonic()
        for process in [*workers, server.process]:
            process.terminate()
        with pytest.raises(openai.APIError, match="the server is shutting down"):
            list(chunks)
        assert time.monotonic() - signalled >= 1
        assert server.process.wait(FAR_LESS) == 0
        assert time.monotonic() - signalled < FAR_LESS
        assert not any(worker.is_running() for worker in workers)


def test_new_requests_are_refused_while_one_runs_on_after_ctrl_c_and_a_second_ctrl_c_ends_it(tmp_path: Path) -> None:
    with running(tmp_path, DRAIN_SECONDS="600") as server:
        chunks = running_stream(server, **LONG)
        server.process.send_signal(signal.SIGINT)
        while (health := httpx.get(f"{server.url}/health", timeout=30)).status_code == 200:
            pass
        assert (health.status_code, health.json()["status"]) == (503, "draining")
        with pytest.raises(openai.InternalServerError, match="the server is shutting down") as refused:
            server.client().chat.completions.create(model=MODEL, messages=messages())
        assert (refused.value.status_code, refused.value.code) == (503, "engine_unavailable")
        next(chunks)  # the running request goes on
        server.process.send_signal(signal.SIGINT)
        with pytest.raises(openai.APIError, match="the server is shutting down"):
            list(chunks)
        assert server.process.wait(FAR_LESS) == 0


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


def test_the_launcher_takes_the_settings_as_options(tmp_path: Path) -> None:
    server = start(tmp_path, "--workers", "2", "--log-level=warning", command=["scripts/serve"])
    try:
        server.wait_until_ready()
        workers = [child for child in psutil.Process(server.process.pid).children() if "--worker-id" in child.cmdline()]
        assert len(workers) == 2
    finally:
        assert stop(server) == 0
    log = server.log.read_text()
    assert "[WARNING]" in log  # of the embedded checkpoint
    assert "[INFO]" not in log


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"MODEL": "no-such:1"}, "The model store has no no-such:1"),
        ({"BENTOML_CONTAINERIZED": "true"}, "No model is chosen"),
    ],
    ids=["that the store lacks", "none, in an image"],
)
def test_a_model_that_cannot_be_served_ends_the_server_at_once(
    tmp_path: Path, setting: dict[str, str], said: str
) -> None:
    server = start(tmp_path, **setting)
    assert server.process.wait(SECONDS_TO_START) != 0
    assert said in server.log.read_text()


def test_two_choices_of_a_model_are_no_choice(tmp_path: Path) -> None:
    server = start(tmp_path, "--arg", "model=one:1", MODEL="other:1")
    assert server.process.wait(SECONDS_TO_START) != 0
    assert "MODEL is other:1, but this is built or started with --arg model=one:1" in server.log.read_text()


def test_a_model_named_by_its_commit_is_fetched_at_the_first_start_only(tmp_path: Path) -> None:
    with hub.serving(hub.content_of(EMBEDDED)) as source:
        chosen = {"MODEL": f"{source.repository}@{source.commit}", "HF_HOME": str(tmp_path / "hub")}
        server = start(tmp_path, HF_ENDPOINT=source.address, **chosen)
        try:
            server.wait_until_ready()
            assert httpx.get(f"{server.url}/health").json()["model"] == source.repository
        finally:
            assert stop(server) == 0
    server = start(tmp_path, HF_ENDPOINT=source.address, **chosen)  # where nobody answers any more
    try:
        server.wait_until_ready()
    finally:
        assert stop(server) == 0
