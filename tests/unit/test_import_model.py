"""scripts/import_model.py as a user runs it: a process of its own, with a model store and a hub cache of its own."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from models.checkpoint import EMBEDDED
from tests.hub import COMMIT, REFUSING, REPOSITORY, Hub, content_of, environment, serving
from tests.layouts import LABELS, write_layout_checkpoint

ROOT = Path(__file__).parents[2]
TAG = "paddleocr-vl:1.5-1a2b3c4d"
LAYOUT_REPOSITORY = "PaddlePaddle/PP-DocLayoutV3_safetensors"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    shutil.copytree(EMBEDDED, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    save_file({"a": np.zeros((2, 3), np.float16)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str | Path, home: str = "here", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, ROOT / "scripts" / "import_model.py", *arguments],
            env=environment(tmp_path / home, REFUSING) | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.fixture
def bentoml(tmp_path: Path) -> Run:
    def bentoml(*arguments: str | Path, home: str = "here") -> subprocess.CompletedProcess[str]:
        command = [Path(sys.executable).with_name("bentoml"), *arguments]
        own = environment(tmp_path / home, REFUSING)
        return subprocess.run(command, env=own, capture_output=True, text=True, check=True, timeout=120)

    return bentoml


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "here" / "bentoml"


@pytest.fixture
def hub(folder: Path) -> Iterator[Hub]:
    unwanted = {"modeling_paddleocr_vl.py": b"no", "PP-DocLayoutV2/model.safetensors": b"no"}
    with serving(content_of(folder) | unwanted) as hub:
        yield hub


def stored(home: Path) -> dict[str, set[str]]:
    """Tag -> names of its files in the store."""
    versions = (path for path in (home / "models").glob("*/*") if path.is_dir())
    return {f"{path.parent.name}:{path.name}": {file.name for file in path.iterdir()} for path in versions}


def test_a_folder_is_imported_only_once(run: Run, folder: Path, home: Path) -> None:
    first, second = run(folder), run(folder)
    (tag,) = stored(home)
    assert tag.startswith("checkpoint:")
    assert first.stdout.startswith(f"Imported: {tag} (")
    assert second.stdout.startswith(f"Already in the store, nothing to do: {tag} (")
    assert (first.returncode, second.returncode) == (0, 0)


def test_a_given_name_replaces_the_name_of_the_folder(run: Run, folder: Path, home: Path) -> None:
    run(folder, "--name", "ours")
    (tag,) = stored(home)
    assert tag.startswith("ours:")


def test_a_folder_that_is_not_a_checkpoint_is_refused(run: Run, tmp_path: Path) -> None:
    answer = run(tmp_path)
    assert answer.returncode == 1
    assert answer.stderr == f"import_model: {tmp_path} is not a checkpoint: it has no readable config.json\n"


def test_an_unknown_source_is_an_error_that_names_the_valid_ones(run: Run) -> None:
    answer = run("/not/there")
    assert answer.returncode == 1
    assert "Use 'tiny', a local folder, or a hub id" in answer.stderr


def test_a_revision_of_a_folder_is_refused(run: Run, folder: Path) -> None:
    answer = run(folder, "--revision", "main")
    assert answer.returncode == 1
    assert "--revision is for hub ids" in answer.stderr


def test_an_unreachable_hub_is_reported_within_seconds_with_what_to_do(run: Run) -> None:
    start = time.monotonic()
    answer = run(REPOSITORY)
    assert time.monotonic() - start < 30
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    assert f"{REPOSITORY} could not be fetched from {REFUSING}" in answer.stderr
    assert "import_model.py FOLDER" in answer.stderr


def test_a_hub_id_is_imported_at_the_commit_of_main(run: Run, hub: Hub, home: Path) -> None:
    answer = run(REPOSITORY, HF_ENDPOINT=hub.address)
    assert answer.returncode == 0, answer.stderr
    assert f"main is now commit {COMMIT}" in answer.stdout
    wanted = {path.name for path in EMBEDDED.iterdir()} | {"model.safetensors", "model.yaml"}
    assert stored(home) == {"paddleocr-vl:1.5-1a2b3c4d": wanted}


def test_a_layout_checkpoint_of_a_hub_is_imported_with_its_kind_and_labels(
    run: Run, tmp_path: Path, home: Path
) -> None:
    files = content_of(write_layout_checkpoint(tmp_path / "layout", "pp_doclayout_v3"))
    with serving(files | {"inference.pdiparams": b"no"}, repository=LAYOUT_REPOSITORY) as hub:
        answer = run(LAYOUT_REPOSITORY, "--revision", COMMIT, HF_ENDPOINT=hub.address)
    tag = "pp-doclayoutv3_safetensors:1a2b3c4d"
    assert answer.stdout.splitlines()[-1].startswith(f"Imported: {tag} (layout, "), answer.stderr
    assert answer.stdout.endswith(f", {len(LABELS)} labels)\n")
    assert stored(home) == {tag: {*files, "model.yaml"}}
    recorded = yaml.safe_load((home / "models" / tag.replace(":", "/") / "model.yaml").read_text())
    assert recorded["metadata"]["labels"] == list(LABELS.values())


def test_a_stored_revision_is_not_downloaded_again(run: Run, hub: Hub, tmp_path: Path) -> None:
    run(REPOSITORY, HF_ENDPOINT=hub.address)
    shutil.rmtree(tmp_path / "here" / "hub")
    hub.asked.clear()
    answer = run(REPOSITORY, HF_ENDPOINT=hub.address)
    assert answer.stdout.splitlines()[-1].startswith(f"Already in the store, nothing to do: {TAG} (")
    assert f"/api/models/{REPOSITORY}/revision/main" in {one.path for one in hub.asked}
    assert not [one.path for one in hub.asked if COMMIT in one.path or one.path.startswith("/storage/")]


def test_a_downloaded_commit_is_imported_without_the_hub(run: Run, hub: Hub, home: Path) -> None:
    run(REPOSITORY, HF_ENDPOINT=hub.address)
    answer = run(REPOSITORY, "--revision", COMMIT, "--name", "again")
    assert answer.returncode == 0, answer.stderr
    assert set(stored(home)) == {"paddleocr-vl:1.5-1a2b3c4d", "again:1.5-1a2b3c4d"}


def test_a_revision_that_the_hub_lacks_is_named(run: Run, hub: Hub) -> None:
    answer = run(REPOSITORY, "--revision", "v9", HF_ENDPOINT=hub.address)
    assert answer.returncode == 1
    assert f"{REPOSITORY} has no revision 'v9'" in answer.stderr


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_the_list_has_only_imported_models(run: Run, hub: Hub, bentoml: Run, tmp_path: Path) -> None:
    run(REPOSITORY, HF_ENDPOINT=hub.address)
    code = "import bentoml\nwith bentoml.models.create('someones:1'): pass"
    subprocess.run([sys.executable, "-c", code], env=environment(tmp_path / "here", REFUSING), check=True)
    assert "someones:1" in bentoml("models", "list").stdout
    head, *models = lines(run("--list").stdout)
    assert head == ["tag", "kind", "source", "revision", "parameters", "dtype", "size", "created"]
    assert [model[:7] for model in models] == [[TAG, "ocr", REPOSITORY, COMMIT, "0.0", "M", "float16"]]


def test_the_list_of_an_empty_store_is_only_a_header(run: Run) -> None:
    answer = run("--list")
    assert (answer.returncode, len(lines(answer.stdout))) == (0, 1)


def test_verifying_names_each_bad_file_and_fails(run: Run, folder: Path, home: Path) -> None:
    run(folder)
    run(folder, "--name", "other")
    assert run("--verify").returncode == 0
    (tag,) = (tag for tag in stored(home) if tag.startswith("checkpoint:"))
    place = home / "models" / tag.replace(":", "/")
    (place / "config.json").write_text("{}")
    (place / "tokenizer.json").unlink()
    answer = run("--verify")
    assert answer.returncode == 1
    assert f"{tag}: 2 bad\n  config.json has sha256 44136fa3" in answer.stdout
    assert "\n  tokenizer.json cannot be read: No such file or directory\n" in answer.stdout
    (other,) = stored(home).keys() - {tag}
    alone = run("--verify", other)
    assert (alone.returncode, alone.stdout) == (0, f"{other}: good\n")


def test_verifying_a_model_that_was_not_imported_is_an_error(run: Run) -> None:
    answer = run("--verify", "nothing:1")
    assert answer.returncode == 1
    assert (
        answer.stderr
        == "import_model: 'nothing:1' was not imported. scripts/import_model.py --list shows the imported models.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "one of the arguments SOURCE --list --verify is required"),
        (("tiny", "--list"), "argument --list: not allowed with argument SOURCE"),
        (("--list", "--verify"), "argument --verify: not allowed with argument --list"),
        (("--verify", "--revision", "main"), "--revision and --name need a SOURCE"),
    ],
)
def test_conflicting_arguments_are_an_error(run: Run, arguments: tuple[str, ...], message: str) -> None:
    answer = run(*arguments)
    assert answer.returncode == 2
    assert answer.stderr.endswith(f"import_model.py: error: {message}\n")


def test_an_exported_model_is_whole_on_a_machine_without_a_hub(
    run: Run, hub: Hub, bentoml: Run, tmp_path: Path
) -> None:
    run(REPOSITORY, HF_ENDPOINT=hub.address)
    file = tmp_path / "paddleocr-vl.bentomodel"
    bentoml("models", "export", TAG, file)
    bentoml("models", "import", file, home="there")
    verified = run("--verify", TAG, home="there")
    assert (verified.returncode, verified.stdout) == (0, f"{TAG}: good\n")
    assert lines(run("--list", home="there").stdout)[1][:4] == [TAG, "ocr", REPOSITORY, COMMIT]
    there, here = (tmp_path / home / "bentoml" / "models" / TAG.replace(":", "/") for home in ("there", "here"))
    assert content_of(there) == content_of(here)
    again = run(REPOSITORY, "--revision", COMMIT, home="there")
    assert again.stdout.startswith(f"Already in the store, nothing to do: {TAG} (")
