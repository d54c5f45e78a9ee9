"""Weights as a CPU multiplies by them, kept in a folder: a later start maps them, and processes share their memory.

Each layer has a file of safetensors, with the sum of its words: a folder with a file that a full disk or a power cut
has spoilt is made again.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.paddleocr_vl.cpu_blocks import Blocks
from models.paddleocr_vl.weights import let_go

logger = logging.getLogger(__name__)

FORMAT = 1  # version of the folder; another one is made beside it
ABOUT = "about.json"  # written last
WEIGHT, SCALE, SUMS = "weight", "scale", "sums"
WORDS = torch.int64  # numbers that sums are made of
FREE_SHARE = 2  # the file system must have so many times the bytes to be written


class DamagedError(Exception):
    """A kept folder is not as it was written."""


UNREADABLE = (OSError, DamagedError, SafetensorError, ValueError, LookupError, TypeError)
About = Mapping[str, Any]  # what weights were made from; "checkpoint" and "files" are part of it


@dataclass(frozen=True)
class KeptWeights:
    """Weights by their layers' names, mapped from files."""

    blocks: Mapping[str, Blocks]
    plain: Mapping[str, Tensor]  # as the checkpoint has them
    bytes: int

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters that a model need not have."""
        return [f"{name}.weight" for name in (*self.blocks, *self.plain)]


class Keeper:
    """Writes weights into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, blocks: Blocks) -> None:
        """Raises OSError."""
        sums = {} if blocks.sums is None else {SUMS: blocks.sums}
        self._write(name, {WEIGHT: blocks.weight, SCALE: blocks.scale, **sums}, norm=repr(blocks.norm))

    def add_plain(self, name: str, weight: Tensor) -> None:
        """Raises OSError."""
        self._write(name, {WEIGHT: weight.detach().contiguous()})

    def _write(self, name: str, tensors: dict[str, Tensor], **metadata: str) -> None:
        metadata["sum"] = str(sum_of_words(tensors))
        try:
            save_file(tensors, self._folder / f"{name}.safetensors", metadata)
        except SafetensorError as error:  # its name for a full disk
            raise OSError(str(error)) from error


def find(root: Path, about: About) -> KeptWeights | None:
    """The weights of `about` that are kept in `root`, if they are whole."""
    try:
        return _read(_folder(root, about))
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        logger.warning("Kept weights are made again: %r", error)
        return None


def keep(root: Path, about: About, size: int, write: Callable[[Keeper], None]) -> None:
    """Let `write` write the weights of `about`, `size` bytes, where they are not kept.

    One process does so at a time. What was kept of the same checkpoint before it changed is removed.
    """
    folder = _folder(root, about)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _alone(root):
            with contextlib.suppress(*UNREADABLE):
                _read(folder)
                return  # another process has been faster
            shutil.rmtree(folder, ignore_errors=True)
            _remove_others(root, about)
            if shutil.disk_usage(root).free < FREE_SHARE * size:
                raise OSError(f"{root} has no room for {size / 1e9:.1f} GB")
            part = root / f".{folder.name}.{os.getpid()}"
            try:
                part.mkdir()
                write(Keeper(part))
                names = sorted(file.stem for file in part.iterdir())
                (part / ABOUT).write_text(json.dumps({**about, "names": names}))
                part.rename(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except BlockingIOError:
        logger.debug("Another process is keeping weights")
    except OSError as error:
        logger.info("Weights are not kept, so the next start takes as long: %s", error)


def _folder(root: Path, about: About) -> Path:
    told = json.dumps({"format": FORMAT, **about}, sort_keys=True)
    return root / f"weights-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def _read(folder: Path) -> KeptWeights:
    """Raises FileNotFoundError where there are none, and what is in UNREADABLE."""
    names = json.loads((folder / ABOUT).read_text())["names"]
    blocks: dict[str, Blocks] = {}
    plain: dict[str, Tensor] = {}
    size = 0
    for name in names:
        file = folder / f"{name}.safetensors"
        if not file.exists():
            raise DamagedError(f"{file} is gone")
        with safe_open(file, framework="pt") as stored:
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a mapping
            metadata = stored.metadata()
        if str(sum_of_words(tensors)) != metadata["sum"]:
            raise DamagedError(f"{file} has changed")
        size += file.stat().st_size
        if SCALE in tensors:
            blocks[name] = Blocks(tensors[WEIGHT], tensors[SCALE], float(metadata["norm"]), tensors.get(SUMS))
        else:
            plain[name] = tensors[WEIGHT]
            let_go(tensors[WEIGHT])  # few of its rows are needed
    return KeptWeights(blocks, plain, size)


def sum_of_words(tensors: Mapping[str, Tensor]) -> int:
    """The sum of all words, modulo 2**64. It is made at the rate of reading memory."""
    return sum(int(tensor.flatten().view(WORDS).sum()) for tensor in tensors.values())


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Raises BlockingIOError where another process is here."""
    with (root / "weights.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _remove_others(root: Path, about: About) -> None:
    """Remove what interrupted processes left, and what was kept of this checkpoint's earlier files."""
    for part in root.glob(".weights-*"):
        shutil.rmtree(part, ignore_errors=True)
    for folder in root.glob("weights-*/"):
        try:
            other = json.loads((folder / ABOUT).read_text())
        except (OSError, ValueError):
            other = None
        if not other or (other.get("checkpoint") == about["checkpoint"] and other.get("files") != about["files"]):
            shutil.rmtree(folder, ignore_errors=True)
