"""Start and end of the server."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from openai.types.chat import ChatCompletionChunk

from models.checkpoint import EMBEDDED
from tests import hub
from tests.e2e.sample import MODEL, messages
from tests.e2e.servers import HANG_SECONDS, ROOT, SECONDS_TO_START, Server, running, started, wait_until
from tests.layouts import write_layout_checkpoint

# More than ten seconds, if nothing ends it. At temperature 0 it would repeat itself, and guesses would halve that.
LONG: Any = {"ignore_eos": True, "max_tokens": 8000, "temperature": 1.0}


# One server's life


@dataclass
class Life:
    """Observations of a server that began to drain while a stream ran."""

    loading: list[tuple[int, httpx.Response]]  # status of /readyz, then the answer of /health
    streamed: list[ChatCompletionChunk]
    exit_code: int
    outlived: list[psutil.Process]  # processes that outlived the server


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    with started(tmp_path_factory.mktemp("life"), DRAIN_SECONDS="600") as server:
        loading = list(healths(server))
        chunks = running_stream(server)
        processes = psutil.Process(server.process.pid).children(recursive=True)
        server.process.terminate()
        streamed, exit_code = list(chunks), server.process.wait(HANG_SECONDS)
        _, alive = psutil.wait_procs(processes, timeout=HANG_SECONDS)
    return Life(loading, streamed, exit_code, alive)


def healths(server: Server) -> Iterator[tuple[int, httpx.Response]]:
    """Probes from the first that is answered to the first healthy one."""
    end = time.monotonic() + SECONDS_TO_START
    while True:
        assert time.monotonic() < end, server.log.read_text()
        try:
            ready = httpx.get(f"{server.url}/readyz", timeout=HANG_SECONDS).status_code
            health = httpx.get(f"{server.url}/health", timeout=HANG_SECONDS)
        except httpx.TransportError:
            continue  # the port is not bound yet
        yield ready, health
        if health.status_code == 200:
            return


def running_stream(server: Server, **options: Any) -> Iterator[ChatCompletionChunk]:
    """A stream after its first piece of text."""
    create = server.client().chat.completions.create
    chunks = create(model=MODEL, messages=messages(), stream=True, extra_body=options)
    while not next(chunks).choices[0].delta.content:
        pass
    return chunks


def test_health_answers_while_the_model_loads_and_readiness_waits_for_it(life: Life) -> None:
    *loading, (_, last) = life.loading
    assert loading
    for ready, health in loading:
        assert (ready, health.status_code, health.json()["status"]) == (503, 503, "loading")
    assert last.status_code == 200


def test_sigterm_lets_a_running_stream_finish_and_exits_with_0(life: Life) -> None:
    assert life.streamed[-1].choices[0].finish_reason == "stop"
    assert life.exit_code == 0


def test_no_process_outlives_the_server(life: Life) -> None:
    assert not life.outlived


# Other ends


def test_new_requests_are_refused_while_one_runs_on_after_ctrl_c_and_a_second_ctrl_c_ends_it(tmp_path: Path) -> None:
    with running(tmp_path, DRAIN_SECONDS="600") as server:
        chunks = running_stream(server, **LONG)
        server.process.send_signal(signal.SIGINT)
        wait_until(lambda: httpx.get(f"{server.url}/health", timeout=HANG_SECONDS).status_code != 200)
        health = httpx.get(f"{server.url}/health", timeout=HANG_SECONDS)
        assert (health.status_code, health.json()["status"]) == (503, "draining")
        with pytest.raises(openai.InternalServerError, match="the server is shutting down") as refused:
            server.client().chat.completions.create(model=MODEL, messages=messages())
        assert (refused.value.status_code, refused.value.code) == (503, "engine_unavailable")
        next(chunks)  # the running request goes on
        server.process.send_signal(signal.SIGINT)
        with pytest.raises(openai.APIError, match="the server is shutting down"):
            list(chunks)
        assert server.process.wait(HANG_SECONDS) == 0


# Servers that cannot serve


@dataclass
class Ending:
    exit_code: int
    log: str


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ending]:
    """Endings by what was wrong. All servers start at once, since imports take most of their time."""
    folder = tmp_path_factory.mktemp("store")
    command = [sys.executable, "scripts/import_model.py", str(EMBEDDED)]
    environment = os.environ | {"BENTOML_HOME": str(folder)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    tag = next(word for word in done.stdout.split() if word.startswith("tiny:"))
    wrong: dict[str, tuple[list[str], dict[str, str]]] = {
        "truncated": (["--arg", f"model={tag}"], {}),
        "misshapen": (["--arg", f"model={tag}"], {}),
        "value": ([], {"DTYPE": "int7"}),
        "missing": ([], {"MODEL": "no-such:1"}),
        "kind": ([], {"LAYOUT": tag}),
        "unchosen": ([], {"BENTOML_CONTAINERIZED": "true"}),
        "two": (["--arg", "model=one:1"], {"MODEL": "other:1"}),
    }
    with ExitStack() as stack:
        servers = {}
        for name, (options, settings) in wrong.items():
            home = tmp_path_factory.mktemp(name)
            shutil.copytree(folder, home / "bentoml")
            (weights,) = home.rglob("model.safetensors")
            if name == "truncated":
                weights.write_bytes(weights.read_bytes()[:100_000])
            elif name == "misshapen":
                config = weights.with_name("config.json")
                config.write_text(config.read_text().replace('"num_hidden_layers": 4', '"num_hidden_layers": 5'))
            servers[name] = stack.enter_context(started(home, *options, **settings))
        return {
            name: Ending(server.process.wait(SECONDS_TO_START), server.log.read_text())
            for name, server in servers.items()
        }


@pytest.mark.parametrize("damage", ["truncated", "misshapen"])
def test_a_model_that_cannot_be_loaded_ends_the_server_with_1_and_says_why(
    endings: dict[str, Ending], damage: str
) -> None:
    assert endings[damage].exit_code == 1
    assert "cannot be loaded" in endings[damage].log


def test_an_unknown_setting_value_ends_the_server_and_is_named(endings: dict[str, Ending]) -> None:
    assert endings["value"].exit_code != 0
    assert "Setting DTYPE has value 'int7'" in endings["value"].log


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("missing", "MODEL is no-such:1, and the model store has no no-such:1"),
        ("kind", "which is of kind ocr. It must be of kind layout"),
        ("unchosen", "No model is chosen"),
    ],
    ids=["that the store lacks", "for another work", "none, in an image"],
)
def test_a_model_that_cannot_be_served_ends_the_server_at_once(
    endings: dict[str, Ending], wrong: str, said: str
) -> None:
    assert endings[wrong].exit_code != 0
    assert said in endings[wrong].log


def test_two_choices_of_a_model_are_no_choice(endings: dict[str, Ending]) -> None:
    assert endings["two"].exit_code != 0
    assert "MODEL is other:1, but this is built or started with --arg model=one:1" in endings["two"].log


# Models of the hub


def test_a_model_named_by_its_commit_is_fetched_at_the_first_start_only(tmp_path: Path) -> None:
    with hub.serving(hub.content_of(EMBEDDED)) as source:
        chosen = {"MODEL": f"{source.repository}@{source.commit}", "HF_HOME": str(tmp_path / "hub")}
        with running(tmp_path, HF_ENDPOINT=source.address, **chosen) as server:
            assert httpx.get(f"{server.url}/health", timeout=HANG_SECONDS).json()["model"] == source.repository
    with running(tmp_path, HF_ENDPOINT=source.address, **chosen):
        pass  # no server answers any more


def test_a_layout_model_of_the_hub_is_served_and_named_by_health(tmp_path: Path) -> None:
    folder = write_layout_checkpoint(tmp_path / "layout", "pp_doclayout_v2")
    with hub.serving(hub.content_of(folder), repository="PaddlePaddle/PP-DocLayoutV2_safetensors") as source:
        chosen = {"LAYOUT": f"{source.repository}@{source.commit}", "HF_HOME": str(tmp_path / "hub")}
        with running(tmp_path, HF_ENDPOINT=source.address, **chosen) as server:
            health = httpx.get(f"{server.url}/health", timeout=HANG_SECONDS).json()
    assert health["layout"] == {"model": source.repository, "revision": source.commit}
