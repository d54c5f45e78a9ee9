"""Models in BentoML's store: put there once, found again and verified.

Does not import BentoML: the caller hands in the `bentoml.models` module. Imports no torch, since the service reads this
file in every process.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.checkpoint import Description, Kind, StoreError, describe, describe_embedded, file_size, sha256

# Metadata of every model imported by this module; `kind`, and `labels`, are younger than some imports.
METADATA = {"source", "revision", "dtype", "parameters", "files"}
SETTLING_SECONDS = 5.0


def import_embedded(store: Any) -> str:
    """Put the embedded checkpoint into `store` unless it is already there, and return its tag. Raises StoreError."""
    return put(store, describe_embedded())


def import_folder(store: Any, folder: Path, tag: str | None = None) -> str:
    """Put the checkpoint in `folder` into `store` unless it is already there, and return its tag. Raises StoreError."""
    return put(store, describe(folder, tag=tag))


def put(store: Any, description: Description) -> str:
    """Put the model into `store`, the module `bentoml.models`, unless it is already there; returns its tag.

    Safe for any number of concurrent processes. Raises StoreError.
    """
    with _one_at_a_time(description):
        if is_stored(store, description):
            return description.tag
        try:
            _create(store, description)
        except store.BentoMLException:
            # The tag exists: another process that the lock does not reach is about to finish, or an interrupted import
            # left it behind.
            if not _becomes_stored(store, description):
                _replace(store, description)
    return description.tag


def is_stored(store: Any, description: Description) -> bool:
    """Whether the store holds this model, complete and with these files."""
    model = _get(store, description.tag)
    return (
        model is not None
        and model.info.metadata.get("files") == description.metadata["files"]
        and all(file_size(Path(model.path_of(file.name))) == file_size(file) for file in description.files)
    )


def is_revision_stored(store: Any, tag: str, source: str, revision: str) -> bool:
    """Whether `tag` is this revision of this source, each file with its size at import; reads no file."""
    model = _get(store, tag)
    if model is None:
        return False
    metadata = model.info.metadata
    sizes = metadata.get("sizes", {})
    return (
        (metadata.get("source"), metadata.get("revision")) == (source, revision)
        and bool(sizes)
        and all(file_size(Path(model.path_of(name))) == size for name, size in sizes.items())
    )


def stored_models(store: Any) -> list[Any]:
    """The models of `store` that this module imported."""
    return [model for model in store.list() if model.info.metadata.keys() >= METADATA]


def kind_of(model: Any) -> Kind:
    """The kind of a model of the store; one without a record is from a time when all were OCR models."""
    return Kind(model.info.metadata.get("kind", Kind.OCR))


def faults(model: Any) -> list[str]:
    """A line for each file of one of `stored_models` that no longer has its sha256 at import."""
    found = []
    digests = model.info.metadata["files"]
    for name, digest in digests.items():
        try:
            now = sha256(Path(model.path_of(name)))
        except OSError as error:
            found.append(f"{name} cannot be read: {error.strerror}")
            continue
        if now != digest:
            found.append(f"{name} has sha256 {now}. Not {digest}.")
    strays = {path.name for path in Path(model.path).iterdir()} - {*digests, "model.yaml"}
    return found + [f"{name} is not part of the import" for name in sorted(strays)]


def _get(store: Any, tag: str) -> Any:
    """The model with exactly this tag, or None."""
    try:
        model = store.get(tag)
    except store.BentoMLException:
        return None
    return model if str(model.tag) == tag else None  # BentoML also finds a version by its prefix


def _create(store: Any, description: Description) -> None:
    with store.create(description.tag, labels=description.labels, metadata=description.metadata) as model:
        # BentoML copies this staging folder into the store. Symbolic links save the first of two copies; files linked
        # by `_share` need neither.
        for file in () if description.lasting else description.files:
            Path(model.path_of(file.name)).symlink_to(file.resolve())
    if description.lasting:
        _share(store, description)


def _share(store: Any, description: Description) -> None:
    """Add the files to the stored model by hard links, or by copies if the store is on another file system."""
    model = store.get(description.tag)
    try:
        for file in description.files:
            try:
                os.link(file.resolve(), model.path_of(file.name))
            except OSError:
                shutil.copyfile(file, model.path_of(file.name))
    except OSError:
        store.delete(description.tag)
        raise


def _replace(store: Any, description: Description) -> None:
    try:
        store.delete(description.tag)
        _create(store, description)
    except store.BentoMLException as error:
        raise StoreError(f"{description.tag} cannot be put into the model store: {error}") from error


def _becomes_stored(store: Any, description: Description) -> bool:
    """Whether the model is complete within SETTLING_SECONDS."""
    end = time.monotonic() + SETTLING_SECONDS
    while not (stored := is_stored(store, description)) and time.monotonic() < end:
        time.sleep(0.1)
    return stored


@contextlib.contextmanager
def _one_at_a_time(description: Description) -> Iterator[None]:
    """Exclude other processes that import the same files, by a lock on the first of them."""
    with description.files[0].open("rb") as file:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
