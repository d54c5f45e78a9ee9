"""Checkpoints in a real BentoML store of their own."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bentoml
import numpy as np
import pytest
from bentoml._internal.models import ModelStore
from safetensors.numpy import save_file

from models import checkpoint
from models import store as model_store
from models.checkpoint import (
    EMBEDDED,
    Description,
    IncompleteCheckpointError,
    NotACheckpointError,
    StoreError,
    describe,
    embedded_tag,
)
from models.store import (
    faults,
    import_embedded,
    import_folder,
    is_revision_stored,
    is_stored,
    put,
    stored_models,
)

CALLS = ("create", "get", "delete", "list")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`bentoml.models` over a store of this test: BentoML reads BENTOML_HOME once per process, too early for a test."""
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    home = tmp_path / "home" / "models"
    home.mkdir(parents=True)
    calls = {name: partial(getattr(bentoml.models, name), _model_store=ModelStore(home)) for name in CALLS}
    return SimpleNamespace(**calls, BentoMLException=bentoml.exceptions.BentoMLException, home=home)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint folder: the embedded one's files and two small tensors."""
    folder = tmp_path / "My Checkpoint"
    shutil.copytree(EMBEDDED, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    save_file({"a": np.zeros((2, 3), np.float16), "b": np.zeros(4, np.float32)}, folder / "model.safetensors")
    return folder


def stored_names(store: Any, tag: str) -> set[str]:
    return set(os.listdir(store.get(tag).path)) - {"model.yaml"}


def test_a_folder_is_stored_whole_under_its_name_and_content(store: Any, folder: Path) -> None:
    tag = import_folder(store, folder)
    assert tag.startswith("my-checkpoint:")
    assert stored_names(store, tag) == {path.name for path in folder.iterdir()}
    stored = Path(store.get(tag).path_of("model.safetensors"))
    assert not stored.is_symlink()
    assert stored.read_bytes() == (folder / "model.safetensors").read_bytes()


def test_metadata_have_source_size_dtype_and_digests(store: Any, folder: Path) -> None:
    info = store.get(put(store, describe(folder, source="someone/model", revision="abc"))).info
    assert info.labels == {
        "kind": "ocr",
        "source": "someone/model",
        "revision": "abc",
        "dtype": "float16+float32",
    }
    assert info.metadata["parameters"] == 10
    assert set(info.metadata["files"]) == {path.name for path in folder.iterdir()}
    assert all(len(digest) == 64 for digest in info.metadata["files"].values())


def test_a_given_tag_is_used(store: Any, folder: Path) -> None:
    assert import_folder(store, folder, "ours:v1") == "ours:v1"
    assert store.get("ours:v1").info.metadata["parameters"] == 10


def test_code_and_pickles_are_not_stored(store: Any, folder: Path) -> None:
    for name in ("modeling.py", "pytorch_model.bin", "optimizer.pkl", "other.safetensors"):
        (folder / name).write_bytes(b"no")
    names = stored_names(store, import_folder(store, folder))
    assert "model.safetensors" in names
    assert not names & {"modeling.py", "pytorch_model.bin", "optimizer.pkl", "other.safetensors"}


def test_importing_the_same_folder_again_changes_nothing(store: Any, folder: Path) -> None:
    tag = import_folder(store, folder)
    created = store.get(tag).creation_time
    assert import_folder(store, folder) == tag
    assert store.get(tag).creation_time == created
    assert len(store.list()) == 1


def test_other_content_gets_another_tag(folder: Path) -> None:
    before = describe(folder).tag
    (folder / "generation_config.json").write_text("{}")
    assert describe(folder).tag != before


def test_a_version_with_the_same_prefix_is_another_version(store: Any, folder: Path) -> None:
    import_folder(store, folder, "ours:1-longer")
    assert not is_stored(store, describe(folder, tag="ours:1"))


def test_concurrent_imports_store_one_model(store: Any, folder: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        tags = set(pool.map(lambda _: import_folder(store, folder), range(6)))
    assert [str(model.tag) for model in store.list()] == list(tags)


def test_an_import_waits_for_another_process(store: Any, folder: Path) -> None:
    description = describe(folder)
    # While another process copies, BentoML shows the model's folder, still empty.
    half = store.home / description.tag.replace(":", "/")
    half.mkdir(parents=True)
    aside = store.home.parent / "aside"
    aside.mkdir()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(put, store, description)
        elsewhere = {name: partial(getattr(bentoml.models, name), _model_store=ModelStore(aside)) for name in CALLS}
        model_store._create(SimpleNamespace(**elsewhere), description)
        shutil.copytree(aside / description.tag.replace(":", "/"), half, dirs_exist_ok=True)
        assert waiting.result() == description.tag
    assert is_stored(store, description)


def test_remains_of_an_interrupted_import_are_replaced(
    store: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_store, "SETTLING_SECONDS", 0.2)
    tag = import_folder(store, folder)
    stored = Path(store.get(tag).path_of("model.safetensors"))
    stored.write_bytes(stored.read_bytes()[:20])
    assert import_folder(store, folder) == tag
    assert stored.read_bytes() == (folder / "model.safetensors").read_bytes()


def lasting(folder: Path) -> Description:
    return replace(describe(folder, tag="ours:1", source="someone/model", revision="abc"), lasting=True)


def test_lasting_files_are_shared_with_the_store(store: Any, folder: Path) -> None:
    tag = put(store, lasting(folder))
    assert stored_names(store, tag) == {path.name for path in folder.iterdir()}
    assert os.path.samefile(folder / "model.safetensors", store.get(tag).path_of("model.safetensors"))


def test_lasting_files_are_copied_if_the_file_system_refuses_links(
    store: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", refuse)
    tag = put(store, lasting(folder))
    assert faults(store.get(tag)) == []
    assert not os.path.samefile(folder / "model.safetensors", store.get(tag).path_of("model.safetensors"))


def test_a_failed_import_leaves_nothing(store: Any, folder: Path) -> None:
    description = lasting(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        put(store, description)
    assert store.list() == []


def test_a_revision_is_known_by_source_revision_and_sizes(store: Any, folder: Path) -> None:
    tag = put(store, describe(folder, tag="ours:1", source="someone/model", revision="abc"))
    assert is_revision_stored(store, tag, "someone/model", "abc")
    assert not is_revision_stored(store, tag, "someone/model", "abd")
    assert not is_revision_stored(store, tag, "another/model", "abc")
    assert not is_revision_stored(store, "ours:2", "someone/model", "abc")
    os.truncate(store.get(tag).path_of("model.safetensors"), 100)
    assert not is_revision_stored(store, tag, "someone/model", "abc")


def test_a_model_stored_by_another_program_is_not_listed(store: Any, folder: Path) -> None:
    tag = import_folder(store, folder)
    with store.create("foreign:1", metadata={"source": "elsewhere"}):
        pass
    assert [str(model.tag) for model in stored_models(store)] == [tag]


def test_faults_name_changed_missing_and_extra_files(store: Any, folder: Path) -> None:
    model = store.get(import_folder(store, folder))
    assert faults(model) == []
    weights = Path(model.path_of("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")  # as long as before
    Path(model.path_of("config.json")).unlink()
    Path(model.path_of("chat_template.json")).write_text("{}")
    assert [fault.partition(" sha256")[0] for fault in faults(model)] == [
        "config.json cannot be read: No such file or directory",
        "model.safetensors has",
        "chat_template.json is not part of the import",
    ]


def test_a_tag_that_bentoml_rejects_is_a_store_error(folder: Path) -> None:
    with pytest.raises(StoreError, match=r"Tag 'Ours!:1' is not valid\. Use name:version"):
        describe(folder, tag="Ours!:1")


def test_another_name_keeps_the_version() -> None:
    assert Description("old:1.5-abc", {}, {}, ()).named("new").tag == "new:1.5-abc"


Damage = Callable[[Path], Any]
NOT_CHECKPOINTS: dict[str, tuple[Damage, str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "no readable config.json"),
    "config that is not JSON": (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
    "another model": (
        lambda folder: (folder / "config.json").write_text('{"model_type": "llama"}'),
        r"model_type 'llama'\. None of paddleocr_vl, pp_doclayout_v2",
    ),
}


@pytest.mark.parametrize("damage", NOT_CHECKPOINTS)
def test_a_folder_that_is_not_a_checkpoint_is_refused_with_the_reason(folder: Path, damage: str) -> None:
    inflict, message = NOT_CHECKPOINTS[damage]
    inflict(folder)
    with pytest.raises(NotACheckpointError, match=message):
        describe(folder)


def index(*names: str) -> str:
    return json.dumps({"weight_map": {f"tensor.{name}": name for name in names}})


INCOMPLETE: dict[str, tuple[Damage, str]] = {
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "lacks model.safetensors"),
    "weights cut short": (
        lambda folder: os.truncate(folder / "model.safetensors", 100),
        "model.safetensors is not a whole safetensors file",
    ),
    "a part that the index names": (
        lambda folder: (folder / "model.safetensors.index.json").write_text(index("model-2.safetensors")),
        "lacks model-2.safetensors",
    ),
    "a tensor that the index names": (
        lambda folder: (folder / "model.safetensors.index.json").write_text(index("model.safetensors")),
        "lacks tensors that .* names: tensor.model.safetensors",
    ),
    "an index that points elsewhere": (
        lambda folder: (folder / "model.safetensors.index.json").write_text(index("../model.safetensors")),
        r"names '\.\./model\.safetensors'",
    ),
    "an index of nothing": (
        lambda folder: (folder / "model.safetensors.index.json").write_text(index()),
        "names no tensors",
    ),
    "an index without its map": (
        lambda folder: (folder / "model.safetensors.index.json").write_text("[]"),
        "has no readable weight_map",
    ),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "lacks tokenizer.json"),
    "no image settings": (
        lambda folder: (folder / "preprocessor_config.json").unlink(),
        "lacks preprocessor_config.json or processor_config.json",
    ),
    "image settings that the processor only points to": (
        lambda folder: (
            (folder / "preprocessor_config.json")
            .rename(folder / "processor_config.json")
            .write_text('{"auto_map": {}, "processor_class": "PaddleOCRVLProcessor"}')
        ),
        "lacks preprocessor_config.json, and its processor_config.json has no image_processor",
    ),
    "image settings cut short": (
        lambda folder: os.truncate(folder / "preprocessor_config.json", 100),
        "preprocessor_config.json cannot be read",
    ),
    "image settings that are no object": (
        lambda folder: (folder / "preprocessor_config.json").write_text("[]"),
        "preprocessor_config.json holds no JSON object",
    ),
}


@pytest.mark.parametrize("damage", INCOMPLETE)
def test_a_missing_part_is_named(folder: Path, damage: str) -> None:
    inflict, message = INCOMPLETE[damage]
    inflict(folder)
    with pytest.raises(IncompleteCheckpointError, match=message):
        describe(folder)


def test_parts_named_by_an_index_are_all_stored(store: Any, folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "part-1.safetensors")
    save_file({"c": np.zeros(5, np.float16)}, folder / "part-2.safetensors")
    named = {"a": "part-1.safetensors", "b": "part-1.safetensors", "c": "part-2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": named}))
    model = store.get(import_folder(store, folder))
    assert {"part-1.safetensors", "part-2.safetensors"} < stored_names(store, str(model.tag))
    assert model.info.metadata["parameters"] == 15


def test_the_embedded_checkpoint_is_tagged_by_its_weights(
    store: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "EMBEDDED", folder)
    digest = describe(folder).metadata["files"]["model.safetensors"]
    assert import_embedded(store) == embedded_tag() == f"paddleocr-vl-tiny:{digest[:8]}"
    assert store.get(embedded_tag()).info.labels["source"] == "embedded"


def test_a_missing_embedded_checkpoint_is_named_with_what_makes_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "EMBEDDED", folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(IncompleteCheckpointError, match=r"train_tiny\.py"):
        embedded_tag()
