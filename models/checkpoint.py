"""A checkpoint folder described for the store: its files, checked, with tag and metadata.

Imports no torch, since the service reads this file in every process.
"""

import hashlib
import json
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

EMBEDDED = Path(__file__).parent / "tiny"
EMBEDDED_NAME = "paddleocr-vl-tiny"
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


class Kind(StrEnum):
    """The work of a checkpoint, as the store records it."""

    OCR = "ocr"
    LAYOUT = "layout"
    ORIENTATION = "orientation"
    UNWARPING = "unwarping"


# Model types of transformers' configs.
KINDS = {
    "paddleocr_vl": Kind.OCR,
    "pp_doclayout_v2": Kind.LAYOUT,
    "pp_doclayout_v3": Kind.LAYOUT,
    "pp_doclayout_v4": Kind.LAYOUT,
    "pp_lcnet": Kind.ORIENTATION,
    "uvdoc": Kind.UNWARPING,
}
# Required files; of two alternatives, transformers writes one.
IMAGE_SETTINGS = ("preprocessor_config.json", "processor_config.json")
NEEDED = {
    Kind.OCR: (("tokenizer.json",), IMAGE_SETTINGS, ("chat_template.jinja", "chat_template.json")),
    Kind.LAYOUT: (IMAGE_SETTINGS,),
    Kind.ORIENTATION: (IMAGE_SETTINGS,),
    Kind.UNWARPING: (IMAGE_SETTINGS,),
}
# The tensor with a value for each label, by the names of transformers' classes.
LABEL_HEADS = {Kind.LAYOUT: "model.enc_score_head.bias", Kind.ORIENTATION: "head.bias"}
ANGLES = {"0", "90", "180", "270"}  # labels of an orientation network, in degrees
DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
COUNTER = "I64"  # dtype of batch norm's step counts, which are no parameters

# BentoML's rule for each half of a tag.
TAG_PART = re.compile(r"[a-z0-9]([-._a-z0-9]{0,61}[a-z0-9])?")


class StoreError(ValueError):
    """A model cannot be described or put into the store; the message says why.

    StoreError
    ├── NotACheckpointError         the folder holds something else
    ├── IncompleteCheckpointError   the folder is a checkpoint of a known kind with parts missing
    └── hub.SourceError             a model of the hub cannot be fetched
    """


class NotACheckpointError(StoreError):
    """The folder is not a checkpoint of a known kind."""


class IncompleteCheckpointError(StoreError):
    """A checkpoint lacks files, tensors or labels."""


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
    return _described(EMBEDDED, Kind.OCR, (), [EMBEDDED / WEIGHTS], embedded_tag(), "embedded", None)


def describe(
    folder: Path, *, tag: str | None = None, source: str | None = None, revision: str | None = None
) -> Description:
    """The checkpoint in `folder`; the default tag is made from the folder's name and content.

    Raises NotACheckpointError, IncompleteCheckpointError, and StoreError for a tag that BentoML would reject.
    """
    config = _config(folder)
    kind = _kind(folder, config)
    labels = _labels(folder, kind, config) if kind in LABEL_HEADS else ()
    return _described(folder, kind, labels, _weights(folder), tag, source or str(folder.resolve()), revision)


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


def _config(folder: Path) -> dict[str, Any]:
    """The object in config.json. Raises NotACheckpointError."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except OSError:
        raise NotACheckpointError(f"{folder} is not a checkpoint: it has no readable config.json") from None
    except ValueError as error:
        raise NotACheckpointError(f"{folder}/config.json is not JSON: {error}") from error
    return config if isinstance(config, dict) else {}


def _kind(folder: Path, config: dict[str, Any]) -> Kind:
    """Raises NotACheckpointError unless the config names an architecture that is served."""
    model_type = config.get("model_type")
    if isinstance(model_type, str) and model_type in KINDS:
        return KINDS[model_type]
    own_format = "" if model_type else " PaddlePaddle's own format has none: take the repository in _safetensors."
    raise NotACheckpointError(
        f"{folder}/config.json has model_type {model_type!r}. None of {', '.join(KINDS)}.{own_format}"
    )


def _labels(folder: Path, kind: Kind, config: dict[str, Any]) -> tuple[str, ...]:
    """The labels of a network in the order of their ids. Raises IncompleteCheckpointError, NotACheckpointError."""
    named: Any = config.get("id2label")
    ids = [str(number) for number in range(len(named))] if isinstance(named, dict) else []
    if not ids or named.keys() != set(ids) or not all(isinstance(label, str) and label for label in named.values()):
        raise IncompleteCheckpointError(
            f"{folder}/config.json names no labels. Its id2label must have a name for each id, from 0."
        )
    labels = tuple(named[number] for number in ids)
    if kind is Kind.ORIENTATION and set(labels) != ANGLES:
        raise NotACheckpointError(
            f"{folder} tells {', '.join(labels)} apart. Not the orientations of a page, 0, 90, 180 and 270."
        )
    return labels


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


def _described(
    folder: Path,
    kind: Kind,
    names: tuple[str, ...],
    weights: list[Path],
    tag: str | None,
    source: str,
    revision: str | None,
) -> Description:
    """`names`: of the network's labels, in the order of their ids."""
    missing = [" or ".join(files) for files in NEEDED[kind] if not any((folder / file).is_file() for file in files)]
    if missing:
        raise IncompleteCheckpointError(f"{folder} lacks {', '.join(missing)}")
    image_settings(folder)
    files = (*(folder / name for name in SIDE_FILES if (folder / name).is_file()), *weights)
    digests = {file.name: sha256(file) for file in files}
    tensors = {name: tensor for file in weights for name, tensor in _tensors(file).items() if tensor[1] != COUNTER}
    head = LABEL_HEADS.get(kind, "")
    if head in tensors and tensors[head][0] != len(names):
        raise IncompleteCheckpointError(
            f"{folder}/config.json names {len(names)} labels, and the weights have {tensors[head][0]}."
        )
    dtype = "+".join(sorted({DTYPES.get(dtype, dtype) for _, dtype in tensors.values()}))
    labels = {"kind": str(kind), "source": source, "revision": revision or "", "dtype": dtype}
    return Description(
        tag=checked_tag(tag or _folder_tag(folder, digests)),
        labels=labels,
        metadata={
            **labels,
            "parameters": sum(size for size, _ in tensors.values()),
            "labels": list(names),
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
