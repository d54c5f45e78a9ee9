"""The image of the OCR API and its workers, in a real Podman, with a real PostgreSQL. Run by scripts/test_container.

Servers are simulated (tests/page_server.py).
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pypdf
import pytest

from scripts.container.podman import (
    assert_cannot_write,
    assert_confined,
    free_port,
    podman,
    run,
    size,
    started,
)
from tests.ocr_service import Client, pdf, until
from tests.page_server import PageServer, page_server
from tests.postgres import postgres

IMAGE = "localhost/paddleocr-jobs:test"  # kept for the next run
VOLUME = "paddleocr-jobs-test"
MAX_BYTES = 300_000_000
READING = 0.3  # seconds for a page
PAGES = 6
DOCUMENTS = 24  # so many that a worker has more to read when its first one is seen to be done


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As the documentation says, except for the base image."""
    wheels = Path(os.environ.get("PIP_FIND_LINKS", ""))
    if not wheels.is_absolute() or not wheels.is_dir():
        wheels = tmp_path_factory.mktemp("wheels")
    build = ("podman", "build", "-q", "-f", "deploy/jobs.Dockerfile", "-t", IMAGE)
    run(*build, "--build-arg", f"BASE={os.environ['BASE_IMAGE']}", "--volume", f"{wheels}:/wheels:ro", ".")
    return IMAGE


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    with page_server(tmp_path_factory.mktemp("pages"), READING) as server:
        yield server


@pytest.fixture
def volume() -> Iterator[str]:
    podman("volume", "create", VOLUME)
    yield VOLUME
    podman("volume", "rm", "-f", VOLUME)


@dataclass
class Stack:
    """An API and two workers, as deploy/compose.yaml has them."""

    api: Client
    names: list[str]  # containers, the API first


def settings(pages: PageServer, volume: str, **more: str) -> list[str]:
    environment = {"VLLM_URL": pages.url, "JOBS_HOST": "127.0.0.1", "JOBS_LEASE_SECONDS": "3"} | more
    return [f"-v={volume}:/data", *(f"-e={name}={value}" for name, value in environment.items())]


@pytest.fixture
def stack(image: str, pages: PageServer, volume: str) -> Iterator[Stack]:
    port = free_port()
    names = [f"paddleocr-jobs-test-{port}-{name}" for name in ("api", "one", "two")]
    with ExitStack() as running:
        database = running.enter_context(postgres()).database()
        options = settings(pages, volume, JOBS_DATABASE_URL=database, JOBS_DOCUMENTS="2", JOBS_PORT=str(port))
        running.enter_context(started(names[0], image, *options, "-e=JOBS_WORKER=0", command=("api",)))
        until(lambda: answers(port))
        for name in names[1:]:
            running.enter_context(started(name, image, *options, f"-e=JOBS_WORKER_ID={name}", command=("worker",)))
        yield Stack(Client(port), names)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def logs(name: str) -> str:
    done = subprocess.run(["podman", "logs", name], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def is_alive(name: str) -> bool:
    """By the health check of deploy/compose.yaml."""
    check = ["podman", "exec", name, "sh", "-c", "find /tmp/alive -newermt '-5 minutes' | grep -q ."]
    return subprocess.run(check, check=False).returncode == 0


def test_two_workers_read_documents_and_one_that_is_killed_loses_none(stack: Stack, tmp_path: Path) -> None:
    api, (_, staying, dying) = stack.api, stack.names
    until(lambda: is_alive(staying) and is_alive(dying))
    jobs = [api.submit(pdf(PAGES, seed), formats="markdown,pdf") for seed in range(DOCUMENTS)]
    until(lambda: "job done" in logs(dying))
    podman("kill", dying)
    assert [api.wait(job)["status"] for job in jobs] == ["done"] * len(jobs)
    assert "are taken over" in logs(staying)
    for job in jobs:
        file = tmp_path / f"{job}.pdf"
        file.write_bytes(api.result(job, "pdf"))
        read = [page.extract_text() for page in pypdf.PdfReader(file).pages]
        assert api.result(job).count(b"ends.") == PAGES
        assert all(text.startswith("The page of ") for text in read)
        assert len(read) == PAGES


def test_api_and_workers_run_as_an_ordinary_user_without_rights_and_end_with_0(stack: Stack) -> None:
    """They need none: they have just read a document."""
    assert stack.api.wait(stack.api.submit(pdf(1)))["status"] == "done"
    for name in stack.names:
        assert_confined(name)
        for place in "/", "/app", "/app/.venv", "/app/jobs":
            assert_cannot_write(name, place)
        podman("stop", "-t", "60", name)
        assert podman("inspect", "--format", "{{.State.ExitCode}}", name) == "0", logs(name)


def test_alone_it_keeps_jobs_in_its_volume(image: str, pages: PageServer, volume: str) -> None:
    port = free_port()
    options = settings(pages, volume, JOBS_PORT=str(port))
    name = f"paddleocr-jobs-test-{port}"
    with started(name, image, *options):
        until(lambda: answers(port))
        job = Client(port).submit(pdf(2))
        podman("kill", name)
    with started(name, image, *options):
        until(lambda: answers(port))
        assert Client(port).wait(job)["status"] == "done"


def test_the_image_is_small_and_holds_nothing_unnecessary(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = (
        "command -v gcc git uv; ls -d /root/.cache /app/tests /app/models/tiny /app/.venv/lib/*/site-packages/torch"
    )
    found = podman("run", "--rm", "--user=0", "--entrypoint=sh", image, "-c", f"{script} 2>/dev/null; true")
    assert found == ""
    base, whole = size(os.environ["BASE_IMAGE"]), size(image)
    with capsys.disabled():
        print(f"\nthe image has {whole / 1e6:.0f} MB, {base / 1e6:.0f} of them its base")
    assert whole < MAX_BYTES


def test_every_module_of_jobs_can_be_imported(image: str) -> None:
    """What is imported late would be missed only by the one who needs it."""
    script = (
        "import pkgutil, importlib, jobs, sys\n"
        "for found in pkgutil.walk_packages(jobs.__path__, 'jobs.'):\n"
        "    found.name.endswith('__main__') or importlib.import_module(found.name)\n"
        "print({'torch', 'numpy', 'bentoml'} & set(sys.modules))"
    )
    assert podman("run", "--rm", "--entrypoint=python", image, "-c", script) == "set()"
