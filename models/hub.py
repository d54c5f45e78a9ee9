"""One commit of a repository on a Hugging Face hub as a model of the store: downloaded, checked, imported.

Files go through the hub's own cache (HF_HOME), in its layout, so that other programs share them. huggingface_hub alone
deletes an interrupted download and starts again. So this module downloads files in LFS, the weights, to the place where
huggingface_hub looks for them, and leaves the small rest to it.

Imports huggingface_hub and httpx2 only where they are used: the service reads this file in every process.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from models.checkpoint import SIDE_FILES, StoreError, checked_tag, describe, tag_part
from models.store import is_revision_stored, put

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
RELEASE = re.compile(r"paddleocr-vl(?:-(\d+(?:\.\d+)*))?", re.IGNORECASE)
EXAMPLE = "PaddlePaddle/PaddleOCR-VL-1.5"
HUB_SECONDS = 10.0  # until the hub's first response
SILENT_SECONDS = 30.0  # without any data, until a connection is given up
PAUSE_SECONDS = 1.0  # before reconnecting
FRUITLESS_TRIES = 5  # in a row without a new byte, until the hub counts as unreachable

Log = Callable[[str], None]  # receives a line for the operator


class SourceError(StoreError):
    """A model of the hub cannot be fetched; the message says what to do."""


class UnreachableError(SourceError):
    """The hub cannot be reached."""


@dataclass(frozen=True)
class Listed:
    """A file as listed in the hub's index."""

    size: int  # bytes
    digest: str  # 64 digits: sha256, for a file in LFS; 40: git's blob id, for others; else the hub lists none

    @property
    def in_lfs(self) -> bool:
        return SHA256.fullmatch(self.digest) is not None


Index = dict[str, Listed]  # the files that serving needs, by name


def fetch(store: Any, reference: str, log: Log) -> str:
    """The tag of "HUB_ID@COMMIT", which is put into `store` (`bentoml.models`) unless it is already there.

    The hub is not asked if the store holds the complete commit. Safe for any number of concurrent processes. `COMMIT`
    has all 40 digits, so that a first start fetches the same model on any day. Raises StoreError, and OSError if the
    disk fails.
    """
    repository, _, commit = reference.partition("@")
    if not (HUB_ID.fullmatch(repository) and COMMIT.fullmatch(commit)):
        raise SourceError(
            f"{reference!r} does not name a commit on a hub. Use HUB_ID@COMMIT with the commit's 40 hexadecimal "
            f"digits, like {EXAMPLE}@{'0123456789' * 4}. A branch or tag may come to mean another model."
        )
    tag, known = import_revision(store, repository, commit, log)
    if not known:
        log(f"{tag} is now in the model store.")
    return tag


def import_revision(store: Any, repository: str, revision: str, log: Log, name: str | None = None) -> tuple[str, bool]:
    """Put a revision (commit, branch or tag) into `store` unless it is already there and complete.

    Returns the tag, with `name` if given, and whether it was already stored; then nothing is downloaded, and for a
    commit the hub is not even asked. Every downloaded file must have the checksum in the hub's index; `log` reports
    files that have none there. If the hub cannot be reached, a commit in its cache is used, so that a cache can be
    copied to a machine without network; the weights are then checked against the sha256 that the cache recorded at the
    download. Raises StoreError, OSError.
    """

    def tag_of(commit: str) -> str:
        tag = hub_tag(repository, commit)
        return checked_tag(f"{name}:{tag.partition(':')[2]}") if name else tag

    def is_known(commit: str) -> bool:
        return is_revision_stored(store, tag_of(commit), repository, commit)

    if COMMIT.fullmatch(revision) and is_known(revision):
        return tag_of(revision), True
    try:
        commit, index = _ask(repository, revision)
    except UnreachableError:
        cached = _cached(repository, revision) if COMMIT.fullmatch(revision) else None
        if cached is None:
            raise
        log(f"{_endpoint()} cannot be reached to check the cached files of {repository} at {revision}.")
        commit, folder, index = revision, cached, _recorded(cached)
    else:
        if commit != revision:
            log(f"{repository}: {revision} is now commit {commit}. Import exactly this one with --revision {commit}")
            if is_known(commit):
                return tag_of(commit), True
        log(f"Fetching {repository} at {commit} from {_endpoint()}")
        folder = _download(repository, commit, index, log)
    _check(folder, index, f"{repository} at {commit}", log)
    description = describe(folder, tag=tag_of(commit), source=repository, revision=commit)
    return put(store, replace(description, lasting=True)), False


def hub_tag(repository: str, commit: str) -> str:
    """PaddlePaddle/PaddleOCR-VL-1.5 -> paddleocr-vl:1.5-1a2b3c4d; any other name -> that-name:1a2b3c4d"""
    name = repository.rpartition("/")[2]
    if release := RELEASE.fullmatch(name):
        return f"paddleocr-vl:{release[1] or '1.0'}-{commit[:8]}"
    return f"{tag_part(name)}:{commit[:8]}"


def _ask(repository: str, revision: str) -> tuple[str, Index]:
    """The commit of `revision`, and its files. One request without retries, so that it fails within seconds."""
    from huggingface_hub import HfApi

    with _explained(repository, revision):
        info = HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=HUB_SECONDS)
    commit = info.sha or ""
    if not COMMIT.fullmatch(commit) or (COMMIT.fullmatch(revision) and commit != revision):
        raise SourceError(f"{_endpoint()} answers with commit {commit!r} for {repository} at {revision!r}.")
    return commit, {
        file.rfilename: Listed(file.lfs.size, file.lfs.sha256)
        if file.lfs
        else Listed(file.size or 0, file.blob_id or "")
        for file in info.siblings or ()
        if _is_wanted(file.rfilename)
    }


def _is_wanted(name: str) -> bool:
    """Whether serving needs the file; other models have folders of their own."""
    return name in SIDE_FILES or (name.endswith(".safetensors") and "/" not in name)


def _download(repository: str, commit: str, index: Index, log: Log) -> Path:
    """The folder of the commit's files; bytes that an earlier attempt received are not requested again."""
    with _explained(repository, commit):
        for name, listed in index.items():
            if listed.in_lfs:
                _receive(repository, commit, name, listed, log)
        return _snapshot(repository, commit)


def _cached(repository: str, commit: str) -> Path | None:
    """The folder of the commit's files, if the hub's cache has them all."""
    try:
        with _explained(repository, commit):
            return _snapshot(repository, commit, local_files_only=True)
    except SourceError:
        return None


def _snapshot(repository: str, commit: str, *, local_files_only: bool = False) -> Path:
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            repository,
            revision=commit,
            allow_patterns=[*SIDE_FILES, "*.safetensors"],
            ignore_patterns=["*/*"],
            local_files_only=local_files_only,
        )
    )


def _receive(repository: str, commit: str, name: str, listed: Listed, log: Log) -> None:
    """Download one file into the hub's cache, continuing an earlier attempt of any process."""
    from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.file_download import repo_folder_name

    if isinstance(try_to_load_from_cache(repository, name, revision=commit), str):
        return
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model") / "blobs"
    folder.mkdir(parents=True, exist_ok=True)
    blob, part = folder / listed.digest, folder / f"{listed.digest}.incomplete"
    with open(os.open(part, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
        # Without locks in the file system, two processes write the same bytes to the same offsets.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if blob.exists():  # by the process that had the lock
            part.unlink(missing_ok=True)
            return
        received = file.seek(0, os.SEEK_END)
        log(f"Downloading {name}: {received / 1e6:.1f} of {listed.size / 1e6:.1f} MB are already here.")
        _receive_rest(hf_hub_url(repository, name, revision=commit), file, listed.size, name)
        part.replace(blob)


def _receive_rest(address: str, file: BinaryIO, size: int, name: str) -> None:
    """Append to `file` until it has `size` bytes, reconnecting as long as connections bring new bytes."""
    import httpx2
    from huggingface_hub import utils as untyped

    utils: Any = untyped
    fruitless = 0
    received = file.seek(0, os.SEEK_END)
    with utils.tqdm(total=size, initial=received, unit="B", unit_scale=True, desc=name, disable=None) as bar:
        while received < size:
            # A compressed response has no offset to continue from.
            headers = utils.build_hf_headers() | {"Accept-Encoding": "identity", "Range": f"bytes={received}-"}
            failure: httpx2.TransportError = httpx2.ReadError(f"{name} ends after {received} of {size} bytes")
            try:
                # A response may also fail after its beginning, where huggingface_hub cannot retry.
                with utils.http_stream_backoff(
                    "GET", address, headers=headers, timeout=SILENT_SECONDS, retry_on_exceptions=()
                ) as response:
                    utils.hf_raise_for_status(response)
                    file.seek(received if response.status_code == httpx2.codes.PARTIAL_CONTENT else 0)
                    for piece in response.iter_raw():
                        file.write(piece)
                        file.flush()  # the process may be killed
                        bar.update(file.tell() - bar.n)
            except httpx2.TransportError as error:
                failure = error
            before, received = received, file.seek(0, os.SEEK_END)
            fruitless = 0 if received > before else fruitless + 1
            if fruitless == FRUITLESS_TRIES:
                raise failure
            if received < size:
                time.sleep(PAUSE_SECONDS)


def _check(folder: Path, index: Index, what: str, log: Log) -> None:
    """Raises SourceError for a file that does not match the index, after removing it from the cache."""
    unknown = []
    for path in sorted(folder.iterdir()):
        if not _is_wanted(path.name):
            continue
        expected = index[path.name].digest if path.name in index else ""
        found = _digest(path, len(expected))
        if not found:
            unknown.append(path.name)
        elif found != expected:
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            kind = "sha256" if len(expected) == 64 else "git blob id"
            raise SourceError(
                f"{path.name} of {what} has {kind} {found}. Not {expected}, as the hub lists. The copy is removed: try "
                "again to download a new one. If that does not help, something between here and the hub "
                f"({_endpoint()}) changes or truncates files."
            )
    if unknown:
        log(f"No checksum is known for these files of {what}: {', '.join(unknown)}")


def _recorded(folder: Path) -> Index:
    """The index recorded in the cache: its files are links to blobs named by the digest at the download.

    Blob names of files outside LFS are not used as checksums, since mirrors make them in their own ways.
    """
    links = {path.name: Path(os.readlink(path)).name for path in folder.iterdir() if path.is_symlink()}
    return {name: Listed(0, target) for name, target in links.items() if SHA256.fullmatch(target)}


def _digest(file: Path, digits: int) -> str:
    """The digest of `file` with this number of hexadecimal digits; empty if there is no such digest."""
    if digits == 64:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    if digits == 40:
        content = file.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return ""


@contextlib.contextmanager
def _explained(repository: str, revision: str) -> Iterator[None]:
    """Convert huggingface_hub's errors to SourceError, with what to do."""
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except RevisionNotFoundError as error:
        raise SourceError(f"{repository} has no revision {revision!r}. The newest one is main.") from error
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise SourceError(
            f"The hub shows no {repository!r}. Check its spelling; if it is private or gated, set HF_TOKEN."
        ) from error
    except HFValidationError as error:
        raise SourceError(f"{repository!r} is not a hub id: {error}") from error
    except (httpx2.HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnreachableError(
            f"{repository} could not be fetched from {_endpoint()}: {reason}. Check the network and HF_ENDPOINT; "
            "an interrupted download continues where it stopped. Or copy the repository's files here by other means "
            "and import their folder: scripts/import_model.py FOLDER"
        ) from error


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT
