"""The image that `bentoml containerize` makes of the CPU bento, in a real Podman. Run by scripts/test_container."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from models.checkpoint import EMBEDDED, embedded_tag
from scripts.container.podman import (
    ROOT,
    assert_cannot_write,
    assert_confined,
    free_port,
    podman,
    run,
    size,
    started,
)
from tests import hub
from tests.e2e.sample import MODEL, assert_nearly_read, messages
from tests.e2e.servers import wait_until_ready

IMAGE = "localhost/paddleocr-vl:test"  # kept for the next run
IMAGE_WITH_WEIGHTS = "localhost/paddleocr-vl:test-with-weights"
STORE = "/home/bentoml/models"
HUB_CACHE = "/home/bentoml/.cache/huggingface"
OWN_CACHE = "/home/bentoml/.cache/paddleocr-vl"
OWNER = "2000"  # user id of the host's store, which BentoML makes private: the container runs as that user
SECONDS_TO_START = 600  # unless something hangs
DRAIN_SECONDS = 4  # too short to write 8000 tokens, of which guesses find few at temperature 1
SECONDS_TO_STOP = DRAIN_SECONDS + 60  # more than the documented 15, for a busy machine
MAX_BYTES = 1_600_000_000  # on top of the base image; PyTorch for CUDA alone has more


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """BentoML's home with the embedded checkpoint in its store. Unlike pytest's folders, other users can read it."""
    folder = Path(tempfile.mkdtemp(prefix="paddleocr-vl-test-"))
    folder.chmod(0o755)
    run("scripts/import_model.py", "tiny", BENTOML_HOME=str(folder))
    run("chown", "-R", f"{OWNER}:{OWNER}", str(folder / "models"))
    yield folder
    shutil.rmtree(folder)


def build(home: Path, image: str, *options: str) -> None:
    """As the documentation says, except for the base image, and for PyTorch if a folder of wheels has it."""
    wheels = Path(os.environ.get("PIP_FIND_LINKS", ""))
    has_wheels = wheels.is_absolute() and wheels.is_dir()
    bentofile: dict[str, Any] = yaml.safe_load((ROOT / "bentofile.cpu.yaml").read_text())
    bentofile["docker"]["base_image"] = os.environ["BASE_IMAGE"]
    if has_wheels:
        bentofile["envs"] = [one for one in bentofile["envs"] if one["name"] != "UV_TORCH_BACKEND"]
    else:
        (wheels := home / "wheels").mkdir(exist_ok=True)
    (home / "bentofile.yaml").write_text(yaml.safe_dump(bentofile))
    bentoml = (sys.executable, "-m", "bentoml")
    run(*bentoml, "build", "-f", str(home / "bentofile.yaml"), "--version", "test", *options, BENTOML_HOME=str(home))
    made = (*bentoml, "containerize", "paddleocr_vl:test", "--backend", "podman", "-t", image)
    log = run(*made, "--opt", f"volume={wheels}:/wheels:ro", BENTOML_HOME=str(home))
    assert podman("image", "ls", "-q", image), log
    run(*bentoml, "delete", "-y", "paddleocr_vl:test", BENTOML_HOME=str(home))


def image_id(image: str) -> str:
    return podman("image", "ls", "-q", "--no-trunc", image)


@pytest.fixture(scope="module")
def image(home: Path) -> str:
    before = image_id(IMAGE)
    build(home, IMAGE)
    if before not in ("", image_id(IMAGE)):
        subprocess.run(["podman", "rmi", before], capture_output=True, check=False)  # stays while it is in use
    return IMAGE


@pytest.fixture(scope="module")
def image_with_weights(home: Path) -> Iterator[str]:
    build(home, IMAGE_WITH_WEIGHTS, "--arg", f"model={embedded_tag()}")
    yield IMAGE_WITH_WEIGHTS
    podman("rmi", IMAGE_WITH_WEIGHTS)


@dataclass
class Container:
    name: str
    url: str

    def state(self, field: str) -> str:
        return podman("inspect", "--format", f"{{{{.State.{field}}}}}", self.name)

    def logs(self) -> str:
        done = subprocess.run(["podman", "logs", self.name], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    def wait_until_ready(self) -> None:
        wait_until_ready(self.url, lambda: self.state("Status") == "running", self.logs, SECONDS_TO_START)

    def wait_until_ended(self) -> int:
        done = subprocess.run(
            ["podman", "wait", self.name], capture_output=True, text=True, check=True, timeout=SECONDS_TO_START
        )
        return int(done.stdout)

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="null", max_retries=0, timeout=SECONDS_TO_START)

    def read_sample(self) -> None:
        with self.client() as client:
            answer = client.chat.completions.create(model=MODEL, messages=messages())
        assert_nearly_read(answer.choices[0].message.content)


@contextmanager
def container(image: str, *options: str) -> Iterator[Container]:
    port = free_port()
    name = f"paddleocr-vl-test-{port}"
    with started(name, image, "-e", "HOST=127.0.0.1", "-e", f"PORT={port}", *options):
        yield Container(name, f"http://127.0.0.1:{port}")


@pytest.fixture(scope="module")
def served(image_with_weights: str) -> Iterator[Container]:
    with container(image_with_weights) as served:
        served.wait_until_ready()
        yield served


def test_an_image_without_a_choice_does_not_start(image: str) -> None:
    with container(image) as refusing:
        assert refusing.wait_until_ended() == 1
        assert "No model is chosen" in refusing.logs()


def test_weights_in_the_image_are_served_by_default(served: Container) -> None:
    served.read_sample()


def test_the_server_runs_as_an_ordinary_user_without_rights(served: Container) -> None:
    """It needs none: it has just served."""
    assert_confined(served.name)


@pytest.mark.parametrize("place", ["/", "/app/.venv", "/home/bentoml", "/home/bentoml/bento/src"])
def test_no_folder_of_the_image_can_be_written(served: Container, place: str) -> None:
    assert_cannot_write(served.name, place)


def mounted(store: Path) -> tuple[str, ...]:
    """Options that mount a store of the host."""
    return ("--user", f"{OWNER}:{OWNER}", "-v", f"{store}:{STORE}:ro", "-e", f"MODEL={embedded_tag()}")


def test_a_model_of_the_hosts_store_is_served_from_a_read_only_mount(home: Path, image: str) -> None:
    with container(image, *mounted(home / "models")) as serving:
        serving.wait_until_ready()
        serving.read_sample()


@pytest.fixture
def volumes() -> Iterator[dict[str, str]]:
    """Fresh named volumes, by mount point."""
    named = {
        STORE: "paddleocr-vl-test-models",
        HUB_CACHE: "paddleocr-vl-test-hub",
        OWN_CACHE: "paddleocr-vl-test-cache",
    }
    for volume in named.values():
        podman("volume", "create", volume)
    yield named
    for volume in named.values():
        podman("volume", "rm", "-f", volume)


def test_a_model_is_fetched_at_the_first_start_and_found_at_the_next(image: str, volumes: dict[str, str]) -> None:
    options = ["-e", f"MODEL={hub.REPOSITORY}@{hub.COMMIT}"]
    for place, volume in volumes.items():
        options += ["-v", f"{volume}:{place}"]
    with (
        hub.serving(hub.content_of(EMBEDDED)) as source,
        container(image, *options, "-e", f"HF_ENDPOINT={source.address}") as first,
    ):
        first.wait_until_ready()
        first.read_sample()
        assert source.sent("model.safetensors") == [0]
    cache = Path(podman("volume", "inspect", "--format", "{{.Mountpoint}}", volumes[OWN_CACHE]).strip())
    assert list(cache.glob("kernels-*.o"))  # compiled for the CPU at hand
    with container(image, *options, "-e", f"HF_ENDPOINT={hub.REFUSING}") as second:
        second.wait_until_ready()
        second.read_sample()


@contextmanager
def stopped(serving: Container, seconds: int) -> Iterator[None]:
    """`podman stop`, which kills after `seconds`; the exit code shows that it did not have to."""
    with subprocess.Popen(["podman", "stop", "-t", str(seconds), serving.name], stdout=subprocess.DEVNULL):
        yield
    assert serving.state("ExitCode") == "0", serving.logs()


def test_a_stop_lets_a_running_request_finish(image_with_weights: str) -> None:
    """With a grace period that no machine needs: it ends with the request, not with the period."""
    with container(image_with_weights, "-e", "DRAIN_SECONDS=600") as serving, serving.client() as client:
        serving.wait_until_ready()
        answer = client.chat.completions.create(model=MODEL, messages=messages(), stream=True)
        next(answer)
        with stopped(serving, 610):
            pieces = [chunk.choices[0] for chunk in answer]
        assert pieces[-1].finish_reason == "stop"
        assert_nearly_read("".join(piece.delta.content or "" for piece in pieces))


def test_a_stop_ends_a_request_that_outlasts_the_grace_period_with_an_error(
    image_with_weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with container(image_with_weights, "-e", f"DRAIN_SECONDS={DRAIN_SECONDS}") as serving, serving.client() as client:
        serving.wait_until_ready()
        endless = client.chat.completions.create(
            model=MODEL,
            messages=messages(),
            stream=True,
            temperature=1.0,
            extra_body={"ignore_eos": True, "max_tokens": 8000},
        )
        while not next(endless).choices[0].delta.content:
            pass
        begin = time.monotonic()
        with stopped(serving, SECONDS_TO_STOP), pytest.raises(openai.APIError, match="the server is shutting down"):
            list(endless)
    report(capsys, f"stopped after {time.monotonic() - begin:.1f} s, exit code 0")


def test_truncated_weights_end_the_container_with_1_and_are_named(home: Path, image: str) -> None:
    store = home / "broken"
    run("cp", "-a", str(home / "models"), str(store))
    (weights,) = store.rglob("model.safetensors")
    os.truncate(weights, 100_000)
    with container(image, *mounted(store)) as broken:
        assert broken.wait_until_ended() == 1
        assert "cannot be loaded" in broken.logs()


def test_the_image_holds_nothing_unnecessary(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = """
        command -v gcc git
        ls -A /root/.cache /home/bentoml/.cache/uv /home/bentoml/bento/models /home/bentoml/bento/hf-models 2>/dev/null
    """
    found = podman("run", "--rm", "--entrypoint", "sh", image, "-c", f"{script} true")
    assert [line for line in found.splitlines() if line and not line.endswith(":")] == []
    base, whole = size(os.environ["BASE_IMAGE"]), size(image)
    script = "du -sm /app/.venv/lib/python3*/site-packages/* /home/bentoml/bento /usr | sort -rn | head -8"
    largest = podman("run", "--rm", "--entrypoint", "sh", image, "-c", script)
    report(
        capsys,
        f"the image has {whole / 1e6:.0f} MB, {base / 1e6:.0f} of them its base; its largest parts in MiB:\n{largest}",
    )
    assert whole - base < MAX_BYTES


def report(capsys: pytest.CaptureFixture[str], line: str) -> None:
    with capsys.disabled():
        print(f"\n{line}")
