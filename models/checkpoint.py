"""A checkpoint folder described for the store: its files, checked, with tag and metadata.

Imports no torch, since the service reads this file in every process.
"""

import hashlib
import json
import re
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

# All files that serving reads besides the weights, and the licences that must stay with them.
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
# Required files; of two alternatives, transformers writes one.
NEEDED = (
    ("tokenizer.json",),
    ("preprocessor_config.json", "processor_config.json"),
    ("chat_template.jinja", "chat_template.json"),
)
DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}

# BentoML's rule for each half of a tag.
TAG_PART = re.compile(r"[a-z0-9]([-._a-z0-9]{0,61}[a-z0-9])?")


class StoreError(ValueError):
    """A model cannot be described or put into the store; the message says why.

    StoreError
    ├── NotACheckpointError         the folder holds something else
    ├── IncompleteCheckpointError   the folder is a PaddleOCR-VL checkpoint with parts missing
    └── hub.SourceError             a model of the hub cannot be fetched
    """


class NotACheckpointError(StoreError):
    """The folder is not a PaddleOCR-VL checkpoint."""


class IncompleteCheckpointError(StoreError):
    """A PaddleOCR-VL checkpoint lacks files or tensors."""


@dataclass(frozen=True)
class Description:
    """A model to be stored: tag, labels, metadata and files."""

    tag: str
    labels: dict[str, str]
    metadata: dict[str, Any]
    files: tuple[Path, ...]
    lasting: bool = False  # the files never change again, so that the store may share them by hard links

    def named(self, name: str) -> "Description":
        """The same model and version under another name. Raises StoreError."""
        return replace(self, tag=checked_tag(f"{name}:{self.tag.partition(':')[2]}"))


def embedded_tag() -> str:
    """The tag of the checkpoint embedded in the project. Raises IncompleteCheckpointError."""
    if not (EMBEDDED / WEIGHTS).is_file():
        raise IncompleteCheckpointError(f"{EMBEDDED} lacks {WEIGHTS}; training/train_tiny.py makes it")
    return f"{EMBEDDED_NAME}:{sha256(EMBEDDED / WEIGHTS)[:8]}"


def describe_embedded() -> Description:
    """The embedded checkpoint, whose weights are always one file. Raises StoreError."""
    return _described(EMBEDDED, [EMBEDDED / WEIGHTS], embedded_tag(), "embedded", None)


def describe(
    folder: Path, *, tag: str | None = None, source: str | None = None, revision: str | None = None
) -> Description:
    """The checkpoint in `folder`; the default tag is made from the folder's name and content.

    Raises NotACheckpointError, IncompleteCheckpointError, and StoreError for a tag that BentoML would reject.
    """
    _check_config(folder)
    return _described(folder, _weights(folder), tag, source or str(folder.resolve()), revision)


def image_settings(folder: Path) -> dict[str, Any]:
    """The settings of a checkpoint's image processor, as JSON. Raises IncompleteCheckpointError.

    Releases have them in preprocessor_config.json. transformers 5 writes them into processor_config.json, and prefers
    those where both files hold some.
    """
    both, own = folder / "processor_config.json", folder / "preprocessor_config.json"
    settings = _json_object(both).get("image_processor") if both.is_file() else None
    if isinstance(settings, dict):
        return settings
    if not own.is_file():
        raise IncompleteCheckpointError(
            f"{folder} lacks {own.name}, and its {both.name} has no image_processor. Copy {own.name} from the model "
            "that this checkpoint was made from."
        )
    return _json_object(own)


def _json_object(file: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises IncompleteCheckpointError."""
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise IncompleteCheckpointError(f"{file} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise IncompleteCheckpointError(f"{file} holds no JSON object")
    return value


def _check_config(folder: Path) -> None:
    """Raises NotACheckpointError unless config.json names our architecture."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except OSError:
        raise NotACheckpointError(f"{folder} is not a checkpoint: it has no readable config.json") from None
    except ValueError as error:
        raise NotACheckpointError(f"{folder}/config.json is not JSON: {error}") from error
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if model_type != MODEL_TYPE:
        raise NotACheckpointError(f"{folder}/config.json has model_type {model_type!r}. Not {MODEL_TYPE!r}.")


def _weights(folder: Path) -> list[Path]:
    """The weight files, checked against the index if there is one. Raises IncompleteCheckpointError."""
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
        raise IncompleteCheckpointError(f"{folder / INDEX} has no readable weight_map: {error!r}") from error
    if not named:
        raise IncompleteCheckpointError(f"{folder / INDEX} names no tensors")
    # A downloaded index must not refer to files elsewhere on this machine.
    foreign = sorted(
        name for name in set(named.values()) if Path(name).name != name or not name.endswith(".safetensors")
    )
    if foreign:
        raise IncompleteCheckpointError(f"{folder / INDEX} names {foreign[0]!r}. Not a safetensors file next to it.")
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
    image_settings(folder)
    files = (*(folder / name for name in SIDE_FILES if (folder / name).is_file()), *weights)
    digests = {file.name: sha256(file) for file in files}
    tensors = [tensor for file in weights for tensor in _tensors(file).values()]
    dtype = "+".join(sorted({DTYPES.get(dtype, dtype) for _, dtype in tensors}))
    labels = {"source": source, "revision": revision or "", "dtype": dtype}
    return Description(
        tag=checked_tag(tag or _folder_tag(folder, digests)),
        labels=labels,
        metadata={
            **labels,
            "parameters": sum(size for size, _ in tensors),
            "files": digests,
            "sizes": {file.name: file_size(file) for file in files},  # bytes
        },
        files=files,
    )


def _folder_tag(folder: Path, digests: dict[str, str]) -> str:
    """A tag of the folder's name and its content, so that one tag never means two contents."""
    content = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
    return f"{tag_part(folder.resolve().name)}:{content[:8]}"


def tag_part(text: str) -> str:
    """`text` as part of a tag: lower-case letters, digits and inner dots, dashes and underscores."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:50].rstrip("-._") or "model"


def checked_tag(tag: str) -> str:
    """`tag` itself. Raises StoreError if BentoML would reject it."""
    name, _, version = tag.partition(":")
    if not (TAG_PART.fullmatch(name) and TAG_PART.fullmatch(version)):
        raise StoreError(
            f"Tag {tag!r} is not valid. Use name:version, each at most 63 lower-case letters, digits, '.', '-' "
            "and '_', with a letter or a digit at both ends."
        )
    return tag


def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1
