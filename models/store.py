"""Checkpoint folders as models of BentoML's store: what is packed, under which tag, and put there once.

Knows the checkpoint's files, not BentoML: the caller hands in the `bentoml.models` module. Imports no torch at
module level, since the service reads this file in every process.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

EMBEDDED = Path(__file__).parent / "tiny"
EMBEDDED_NAME = "paddleocr-vl-tiny"
MODEL_TYPE = "paddleocr_vl"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

# All that serving reads, besides the weights; and what their use obliges us to keep with them.
SIDE_FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    INDEX,
    "README.md",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
)
# Each of these is needed; where two are named, transformers writes one or the other.
NEEDED = (
    ("tokenizer.json",),
    ("preprocessor_config.json", "processor_config.json"),
    ("chat_template.jinja", "chat_template.json"),
)
NOTED = {"source", "revision", "dtype", "parameters", "files"}  # metadata of every model that came by this module
DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}

# BentoML's own rule for either half of a tag.
TAG_PART = re.compile(r"[a-z0-9]([-._a-z0-9]{0,61}[a-z0-9])?")
SETTLING_SECONDS = 5.0


class StoreError(ValueError):
    """A model cannot be described or put into the store; the message says why.

    StoreError
    ├── NotACheckpointError         the folder holds something else
    ├── IncompleteCheckpointError   the folder is a PaddleOCR-VL checkpoint with parts missing
    └── hub.SourceError             a hub's model cannot be had
    """


class NotACheckpointError(StoreError):
    pass


class IncompleteCheckpointError(StoreError):
    pass


@dataclass(frozen=True)
class Description:
    """One model as the store shall hold it."""

    tag: str
    labels: dict[str, str]
    metadata: dict[str, Any]
    files: tuple[Path, ...]
    lasting: bool = False  # nobody writes into the files again, so that the store may share them by hard links

    def named(self, name: str) -> "Description":
        """The same model and version under another name. Raises StoreError."""
        return replace(self, tag=checked_tag(f"{name}:{self.tag.partition(':')[2]}"))


def embedded_tag() -> str:
    """The tag of the checkpoint that comes with the project. Raises IncompleteCheckpointError."""
    if not (EMBEDDED / WEIGHTS).is_file():
        raise IncompleteCheckpointError(f"{EMBEDDED} lacks {WEIGHTS}; training/train_tiny.py makes it")
    return f"{EMBEDDED_NAME}:{_sha256(EMBEDDED / WEIGHTS)[:8]}"


def import_embedded(store: Any) -> str:
    """Put the embedded checkpoint into `store` unless it is there, and return its tag. Raises StoreError."""
    return put(store, describe_embedded())


def import_folder(store: Any, folder: Path, tag: str | None = None) -> str:
    """Put the checkpoint in `folder` into `store` unless it is there, and return its tag. Raises StoreError."""
    return put(store, describe(folder, tag=tag))


def describe_embedded() -> Description:
    """Its weights are one file by design, so this needs no torch. Raises StoreError."""
    return _described(EMBEDDED, [EMBEDDED / WEIGHTS], embedded_tag(), "embedded", None)


def describe(
    folder: Path, *, tag: str | None = None, source: str | None = None, revision: str | None = None
) -> Description:
    """The checkpoint in `folder`; a tag is made from the folder's name and content where none is given.

    Raises NotACheckpointError, IncompleteCheckpointError, and StoreError for a tag that BentoML would refuse.
    """
    _check_config(folder)
    return _described(folder, _weights(folder), tag, source or str(folder.resolve()), revision)


def put(store: Any, description: Description) -> str:
    """Put the model into `store`, the module `bentoml.models`, unless it is there; returns its tag.

    Any number of processes may do so at once. Raises StoreError.
    """
    with _one_at_a_time(description):
        if is_stored(store, description):
            return description.tag
        try:
            _create(store, description)
        except store.BentoMLException:
            # The tag is taken: by a process that the lock does not reach and that will soon be done, or by what an
            # interrupted import left.
            if not _becomes_stored(store, description):
                _replace(store, description)
    return description.tag


def is_stored(store: Any, description: Description) -> bool:
    """Whether the store holds this model, with these files, whole."""
    model = _get(store, description.tag)
    return (
        model is not None
        and model.info.metadata.get("files") == description.metadata["files"]
        and all(_size(Path(model.path_of(file.name))) == _size(file) for file in description.files)
    )


def is_revision_stored(store: Any, tag: str, source: str, revision: str) -> bool:
    """Whether `tag` is this revision of this source, each file as long as at its import; reads none of them."""
    model = _get(store, tag)
    if model is None:
        return False
    metadata = model.info.metadata
    sizes = metadata.get("sizes", {})
    return (
        (metadata.get("source"), metadata.get("revision")) == (source, revision)
        and bool(sizes)
        and all(_size(Path(model.path_of(name))) == size for name, size in sizes.items())
    )


def stored_models(store: Any) -> list[Any]:
    """The models of `store` that were put there by this module, by their tags."""
    return [model for model in store.list() if model.info.metadata.keys() >= NOTED]


def faults(model: Any) -> list[str]:
    """What is wrong with the files of one of `stored_models`, by their sha256 at its import; a line for each file."""
    found = []
    digests = model.info.metadata["files"]
    for name, digest in digests.items():
        try:
            now = _sha256(Path(model.path_of(name)))
        except OSError as error:
            found.append(f"{name} cannot be read: {error.strerror}")
            continue
        if now != digest:
            found.append(f"{name} has sha256 {now}. Not {digest}.")
    strays = {path.name for path in Path(model.path).iterdir()} - {*digests, "model.yaml"}
    return found + [f"{name} is not of the import" for name in sorted(strays)]


def _get(store: Any, tag: str) -> Any:
    """The model with exactly this tag, or None."""
    try:
        model = store.get(tag)
    except store.BentoMLException:
        return None
    return model if str(model.tag) == tag else None  # BentoML takes the beginning of a version for the whole of it


def _create(store: Any, description: Description) -> None:
    with store.create(description.tag, labels=description.labels, metadata=description.metadata) as model:
        # BentoML copies this staging folder into the store. Symbolic links spare the weights the first of two copies,
        # files that stay out of it both.
        for file in () if description.lasting else description.files:
            Path(model.path_of(file.name)).symlink_to(file.resolve())
    if description.lasting:
        _share(store, description)


def _share(store: Any, description: Description) -> None:
    """Give the stored model its files by hard links; copies where the store is on another file system."""
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
    """Whether the model is whole within SETTLING_SECONDS."""
    end = time.monotonic() + SETTLING_SECONDS
    while not (stored := is_stored(store, description)) and time.monotonic() < end:
        time.sleep(0.1)
    return stored


@contextlib.contextmanager
def _one_at_a_time(description: Description) -> Iterator[None]:
    """Between processes that import the same files: a lock on the first of them needs no place of its own."""
    with description.files[0].open("rb") as file:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _check_config(folder: Path) -> None:
    """Raises NotACheckpointError unless config.json tells of our architecture."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except OSError:
        raise NotACheckpointError(f"{folder} is not a checkpoint: it has no config.json that can be read") from None
    except ValueError as error:
        raise NotACheckpointError(f"{folder}/config.json is not JSON: {error}") from error
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if model_type != MODEL_TYPE:
        raise NotACheckpointError(f"{folder}/config.json has model_type {model_type!r}. Not {MODEL_TYPE!r}.")


def _weights(folder: Path) -> list[Path]:
    """The weight files, checked against the index where there is one. Raises IncompleteCheckpointError."""
    named = _weight_map(folder)
    files = [folder / name for name in sorted(set(named.values()) or {WEIGHTS})]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise IncompleteCheckpointError(f"{folder} lacks {', '.join(missing)}")
    for file in files:
        absent = sorted({tensor for tensor, name in named.items() if name == file.name} - set(_tensors(file)))
        if absent:
            raise IncompleteCheckpointError(f"{file} lacks tensors that {INDEX} names: {', '.join(absent[:5])}")
    return files


def _weight_map(folder: Path) -> dict[str, str]:
    """Tensor name -> file name by the index; empty without one. Raises IncompleteCheckpointError."""
    if not (folder / INDEX).exists():
        return {}
    try:
        named = {
            str(tensor): str(name) for tensor, name in json.loads((folder / INDEX).read_bytes())["weight_map"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IncompleteCheckpointError(f"{folder / INDEX} has no weight_map that can be read: {error!r}") from error
    if not named:
        raise IncompleteCheckpointError(f"{folder / INDEX} names no tensors")
    # A downloaded index must not pull in files from elsewhere on this machine.
    foreign = sorted(
        name for name in set(named.values()) if Path(name).name != name or not name.endswith(".safetensors")
    )
    if foreign:
        raise IncompleteCheckpointError(f"{folder / INDEX} names {foreign[0]!r}. Not a safetensors file beside it.")
    return named


def _tensors(file: Path) -> dict[str, tuple[int, str]]:
    """Tensor name -> (number of values, dtype), from the header. Raises IncompleteCheckpointError."""
    try:
        with safe_open(file, framework="np") as tensors:
            parts = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 - not a mapping
            return {name: (prod(part.get_shape()), part.get_dtype()) for name, part in parts.items()}
    except (SafetensorError, OSError) as error:
        raise IncompleteCheckpointError(f"{file} is not a whole safetensors file: {error}") from error


def _described(folder: Path, weights: list[Path], tag: str | None, source: str, revision: str | None) -> Description:
    missing = [" or ".join(names) for names in NEEDED if not any((folder / name).is_file() for name in names)]
    if missing:
        raise IncompleteCheckpointError(f"{folder} lacks {', '.join(missing)}")
    files = (*(folder / name for name in SIDE_FILES if (folder / name).is_file()), *weights)
    digests = {file.name: _sha256(file) for file in files}
    tensors = [tensor for file in weights for tensor in _tensors(file).values()]
    dtype = "+".join(sorted({DTYPES.get(dtype, dtype) for _, dtype in tensors}))
    told = {"source": source, "revision": revision or "", "dtype": dtype}
    return Description(
        tag=checked_tag(tag or _folder_tag(folder, digests)),
        labels=told,
        metadata={
            **told,
            "parameters": sum(size for size, _ in tensors),
            "files": digests,
            "sizes": {file.name: _size(file) for file in files},  # bytes
        },
        files=files,
    )


def _folder_tag(folder: Path, digests: dict[str, str]) -> str:
    """The folder's name and what is in it: the same tag never means two contents."""
    content = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
    return f"{tag_part(folder.resolve().name)}:{content[:8]}"


def tag_part(text: str) -> str:
    """`text` as BentoML takes it in a tag: lower-case letters, digits and inner dots, dashes and underscores."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:50].rstrip("-._") or "model"


def checked_tag(tag: str) -> str:
    """`tag` itself. Raises StoreError where BentoML would refuse it."""
    name, _, version = tag.partition(":")
    if not (TAG_PART.fullmatch(name) and TAG_PART.fullmatch(version)):
        raise StoreError(
            f"Tag {tag!r} is not valid. Use name:version, each at most 63 lower-case letters, digits, '.', '-' "
            "and '_', with a letter or a digit at both ends."
        )
    return tag


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1
