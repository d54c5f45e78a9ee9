"""Third-party clients, unchanged, from the environment of scripts/setup_clients, against a real server."""

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.sample import IMAGE, TEXT, assert_nearly_read
from tests.e2e.servers import ROOT, Server

COMMANDS = ROOT / ".venv-clients" / "bin"
PROGRAMS = ROOT / "tests" / "e2e" / "clients"
SECONDS_TO_RUN = 600  # ten on an idle machine, but minutes for the imports alone on a busy one
LABELS = ["ocr", "table", "formula", "chart", "spotting", "seal"]


def run(folder: Path, command: str, *arguments: str | Path) -> str:
    """The output of `command`, which cannot reach other machines and writes its caches into `folder`."""
    assert (COMMANDS / command).exists(), "scripts/setup_clients makes what this test needs"
    environment = os.environ | {
        "HOME": str(folder),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise it asks GitHub for prices
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(PROGRAMS),  # the folder of sitecustomize.py
    }
    line = [COMMANDS / command, *arguments]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS_TO_RUN)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_program(name: str, server: Server, folder: Path) -> dict[str, Any]:
    answers: dict[str, Any] = json.loads(run(folder, "python", PROGRAMS / name, IMAGE, f"{server.url}/v1"))
    return answers


@pytest.fixture(scope="module")
def programs(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[dict[str, Any]]]]:
    """Results by client. All run at once, since imports take most of their time."""
    with ThreadPoolExecutor() as threads:
        yield {
            client: threads.submit(run_program, f"read_with_{client}.py", server, tmp_path_factory.mktemp(client))
            for client in ("paddleocr", "langchain", "litellm")
        }


@pytest.fixture(scope="module")
def by_label(programs: dict[str, Future[dict[str, Any]]]) -> dict[str, Any]:
    """Results of PaddleOCR's own client for the image, by prompt label."""
    return programs["paddleocr"].result()


@pytest.fixture(scope="module")
def by_langchain(programs: dict[str, Future[dict[str, Any]]]) -> dict[str, Any]:
    return programs["langchain"].result()


@pytest.fixture(scope="module")
def by_litellm(programs: dict[str, Future[dict[str, Any]]]) -> dict[str, Any]:
    return programs["litellm"].result()


@pytest.mark.usefixtures("programs")  # they run meanwhile
def test_paddleocrs_command_reads_the_image_and_writes_its_files(server: Server, tmp_path: Path) -> None:
    options = ["--use_layout_detection", "False", "--vl_rec_backend", "vllm-server"]
    where = ["--vl_rec_server_url", f"{server.url}/v1", "--save_path", "out"]
    run(tmp_path, "paddleocr", "doc_parser", "-i", IMAGE, *options, *where)
    (block,) = json.loads((tmp_path / "out" / "test_document_res.json").read_text())["parsing_res_list"]
    assert_nearly_read(block["block_content"])
    assert_nearly_read((tmp_path / "out" / "test_document.md").read_text().replace("\n\n", "\n"))
    assert (tmp_path / "out" / "test_document.docx").exists()


def test_paddleocrs_client_reads_the_image(by_label: dict[str, Any]) -> None:
    assert_nearly_read(by_label["ocr"]["text"])


@pytest.mark.parametrize("label", LABELS)
def test_paddleocrs_client_is_answered_and_finishes_with_prompt_label(label: str, by_label: dict[str, Any]) -> None:
    """The embedded checkpoint knows `OCR:` only, so its answers to the other labels are meaningless."""
    assert by_label[label]["label"] == label
    (request,) = by_label[label]["requests"]
    assert request.startswith("HTTP Request: POST http://127.0.0.1")
    assert request.endswith('/v1/chat/completions "HTTP/1.1 200 OK"')


def test_langchain_reads_the_image(by_langchain: dict[str, Any]) -> None:
    assert by_langchain["text"] == TEXT
    assert by_langchain["reason"] == "stop"


def test_langchain_streams_the_same_text_as_it_gets_whole(by_langchain: dict[str, Any]) -> None:
    assert by_langchain["streamed"] == by_langchain["text"]
    assert by_langchain["chunks"] > TEXT.count(" ")


def test_langchain_knows_the_usage(by_langchain: dict[str, Any]) -> None:
    usage = by_langchain["usage"]
    assert usage["output_tokens"] == len(by_langchain["text"]) + 1  # one a character, and the end
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    counts = {"input_tokens", "output_tokens", "total_tokens"}  # the second question may find more of it cached
    assert {name: by_langchain["streamed_usage"][name] for name in counts} == {name: usage[name] for name in counts}


def test_litellm_reads_the_image(by_litellm: dict[str, Any]) -> None:
    assert by_litellm["text"] == TEXT
    assert by_litellm["reason"] == "stop"


def test_litellm_streams_the_same_text_as_it_gets_whole(by_litellm: dict[str, Any]) -> None:
    assert by_litellm["streamed"] == by_litellm["text"]
    assert by_litellm["chunks"] > TEXT.count(" ")


def test_litellm_knows_the_usage(by_litellm: dict[str, Any]) -> None:
    assert by_litellm["usage"]["completion_tokens"] == len(by_litellm["text"]) + 1  # one a character, and the end
    assert by_litellm["streamed_usage"]["total_tokens"] == by_litellm["usage"]["total_tokens"]
