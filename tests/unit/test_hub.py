"""Fetching from a hub on loopback, each in a process of its own with a model store and a hub cache of its own."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.checkpoint import EMBEDDED
from models.hub import SourceError, fetch, hub_tag
from tests.hub import COMMIT, REFUSING, REPOSITORY, Hub, content_of, environment, index_entry, serving

ROOT = Path(__file__).parents[2]
REFERENCE = f"{REPOSITORY}@{COMMIT}"
TAG = "paddleocr-vl:1.5-1a2b3c4d"
WEIGHTS = "model.safetensors"
FETCH = """
import sys, bentoml
from models.hub import fetch
from models.checkpoint import StoreError
try:
    print(fetch(bentoml.models, sys.argv[1], lambda line: print(line, file=sys.stderr)))
except StoreError as error:
    sys.exit(str(error))
"""

Fetch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "checkpoint"
    shutil.copytree(EMBEDDED, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    save_file({"a": np.arange(500_000, dtype=np.float32)}, folder / WEIGHTS)
    with serving(content_of(folder)) as hub:
        yield hub


@pytest.fixture
def started(tmp_path: Path, hub: Hub) -> Callable[..., subprocess.Popen[str]]:
    def started(address: str | None = None, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", FETCH, REFERENCE],
            cwd=ROOT,
            env=environment(tmp_path, address or hub.address) | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return started


@pytest.fixture
def fetched(started: Callable[..., subprocess.Popen[str]]) -> Fetch:
    def fetched(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        process = started(*arguments, **more)
        output, errors = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    return fetched


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "bentoml" / "models"


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    return tmp_path / "hub" / "hub" / f"models--{REPOSITORY.replace('/', '--')}" / "blobs"


def weights(store: Path) -> Path:
    return store / TAG.replace(":", "/") / WEIGHTS


def changed(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    ("repository", "tag"),
    [
        ("PaddlePaddle/PaddleOCR-VL-1.6", "paddleocr-vl:1.6-1a2b3c4d"),
        ("PaddlePaddle/PaddleOCR-VL-1.5", "paddleocr-vl:1.5-1a2b3c4d"),
        ("PaddlePaddle/PaddleOCR-VL", "paddleocr-vl:1.0-1a2b3c4d"),
        ("someone/Their_Model-OCR", "their_model-ocr:1a2b3c4d"),
    ],
)
def test_the_tag_has_release_and_revision(repository: str, tag: str) -> None:
    assert hub_tag(repository, COMMIT) == tag


@pytest.mark.parametrize(
    "reference", [REPOSITORY, f"{REPOSITORY}@main", f"{REPOSITORY}@{COMMIT[:8]}", f"tiny@{COMMIT}"]
)
def test_a_reference_without_a_full_commit_is_refused(reference: str) -> None:
    with pytest.raises(SourceError, match="Use HUB_ID@COMMIT with the commit's 40"):
        fetch(None, reference, print)


def test_importing_the_module_does_not_import_the_hubs_client() -> None:
    code = "import sys, models.hub; print({'huggingface_hub', 'httpx2', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_fetched_commit_is_in_the_store_and_the_hub_is_not_needed_again(
    fetched: Fetch, hub: Hub, store: Path
) -> None:
    first = fetched()
    assert first.stdout == f"{TAG}\n", first.stderr
    assert weights(store).read_bytes() == hub.files[WEIGHTS]
    shutil.rmtree(store.parent.parent / "hub")
    second = fetched(REFUSING)
    assert (second.stdout, second.stderr) == (f"{TAG}\n", "")


def test_a_truncated_stored_model_is_fetched_again(fetched: Fetch, hub: Hub, store: Path) -> None:
    fetched()
    weights(store).unlink()  # not the cache's copy, which is the same file
    weights(store).write_bytes(hub.files[WEIGHTS][:1000])
    answer = fetched()
    assert answer.stdout == f"{TAG}\n", answer.stderr
    assert weights(store).read_bytes() == hub.files[WEIGHTS]


def test_processes_that_fetch_at_once_share_one_download(
    started: Callable[..., subprocess.Popen[str]], hub: Hub, store: Path
) -> None:
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda process: process.communicate(timeout=120), [started() for _ in range(3)]))
    assert [output for output, _ in answers] == [f"{TAG}\n"] * 3, answers
    assert hub.sent(WEIGHTS) == [0]
    assert weights(store).read_bytes() == hub.files[WEIGHTS]


def test_a_killed_download_continues_at_the_byte_where_it_stopped(
    started: Callable[..., subprocess.Popen[str]], fetched: Fetch, hub: Hub, store: Path, blobs: Path
) -> None:
    hub.stall[WEIGHTS] = 1_500_000
    process = started()
    assert hub.stalled.wait(60)
    (part,) = blobs.glob("*.incomplete")
    while part.stat().st_size < 1_500_000 and process.poll() is None:
        time.sleep(0.01)  # the sent bytes are still on their way to the disk
    process.kill()
    process.communicate()
    hub.stall.clear()
    answer = fetched()
    assert answer.stdout == f"{TAG}\n", answer.stderr
    assert f"Downloading {WEIGHTS}: 1.5 of 2.0 MB are already here." in answer.stderr
    assert hub.sent(WEIGHTS) == [0, 1_500_000]
    assert weights(store).read_bytes() == hub.files[WEIGHTS]
    assert not list(blobs.glob("*.incomplete"))


def test_after_a_broken_connection_only_the_rest_is_requested(fetched: Fetch, hub: Hub, store: Path) -> None:
    hub.cut[WEIGHTS] = 700_000
    answer = fetched()
    assert answer.stdout == f"{TAG}\n", answer.stderr
    assert hub.sent(WEIGHTS) == [0, 700_000]
    assert weights(store).read_bytes() == hub.files[WEIGHTS]


def test_a_storage_without_ranges_sends_the_whole_file_again(fetched: Fetch, hub: Hub, store: Path) -> None:
    hub.cut[WEIGHTS], hub.ranges = 700_000, False
    answer = fetched()
    assert answer.stdout == f"{TAG}\n", answer.stderr
    assert weights(store).read_bytes() == hub.files[WEIGHTS]


def test_a_file_shorter_than_the_hub_lists_is_an_error(fetched: Fetch, hub: Hub) -> None:
    size = len(hub.files[WEIGHTS])
    hub.sums[WEIGHTS]["lfs"]["size"] += 10
    answer = fetched()
    assert answer.returncode == 1
    assert f"{WEIGHTS} ends after {size} of {size + 10} bytes" in answer.stderr


@pytest.mark.parametrize(("name", "kind"), [(WEIGHTS, "sha256"), ("config.json", "git blob id")])
def test_a_file_with_another_checksum_is_refused_and_downloaded_again(
    fetched: Fetch, hub: Hub, store: Path, name: str, kind: str
) -> None:
    right = hub.files[name]
    hub.files[name] = changed(right)
    entries = (index_entry(name, content) for content in (hub.files[name], right))
    received, listed = ((entry.get("lfs") or {}).get("sha256") or entry["blobId"] for entry in entries)
    answer = fetched()
    assert answer.returncode == 1
    assert f"{name} of {REPOSITORY} at {COMMIT} has {kind} {received}. Not {listed}" in answer.stderr
    assert "try again to download a new one" in answer.stderr
    assert not list(store.glob("*/*"))
    hub.files[name] = right
    again = fetched()
    assert again.stdout == f"{TAG}\n", again.stderr
    assert (weights(store).parent / name).read_bytes() == right


def test_a_file_without_a_checksum_is_accepted_and_reported(fetched: Fetch, hub: Hub) -> None:
    hub.sums["config.json"] = {}
    answer = fetched()
    assert answer.stdout == f"{TAG}\n"
    assert f"No checksum is known for these files of {REPOSITORY} at {COMMIT}: config.json\n" in answer.stderr


def test_a_hub_that_answers_with_another_commit_is_refused(fetched: Fetch, hub: Hub) -> None:
    hub.listed_commit = "f" * 40
    answer = fetched()
    assert answer.returncode == 1
    assert f"answers with commit {'f' * 40!r} for {REPOSITORY} at {COMMIT!r}" in answer.stderr


def test_a_token_is_sent_to_the_hub_and_not_to_its_storage(fetched: Fetch, hub: Hub) -> None:
    fetched(HF_TOKEN="hf_secret")
    tokens = {one.path.startswith("/storage/"): one.token for one in hub.asked}
    assert tokens == {False: True, True: False}


def test_without_the_hub_its_cache_is_used_and_its_weights_are_checked(
    fetched: Fetch, hub: Hub, store: Path, blobs: Path
) -> None:
    fetched()
    shutil.rmtree(store)
    answer = fetched(REFUSING)
    assert answer.stdout == f"{TAG}\n", answer.stderr
    assert f"{REFUSING} cannot be reached to check the cached files of {REPOSITORY} at {COMMIT}" in answer.stderr
    shutil.rmtree(store)
    (blob,) = (path for path in blobs.iterdir() if path.stat().st_size == len(hub.files[WEIGHTS]))
    blob.write_bytes(changed(hub.files[WEIGHTS]))
    damaged = fetched(REFUSING)
    assert damaged.returncode == 1
    assert f"{WEIGHTS} of {REPOSITORY} at {COMMIT} has sha256" in damaged.stderr


def test_cache_and_store_on_one_disk_share_the_weights(fetched: Fetch, store: Path, blobs: Path) -> None:
    fetched()
    assert os.stat(weights(store)).st_ino in {path.stat().st_ino for path in blobs.iterdir()}
