"""One commit of a Hugging Face hub's repository as a model of the store: downloaded, checked, put there.

Files come through the hub's own cache (HF_HOME), in its layout, so that other programs share them. huggingface_hub
alone would begin an interrupted file anew: it deletes what it has. So what the repository keeps in LFS, the weights, is
received here, into the place where huggingface_hub looks for it, and the small rest by itself.

Imports huggingface_hub and httpx2 where they are used: the service reads this file in every process.
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

from models.store import SIDE_FILES, StoreError, checked_tag, describe, is_revision_stored, put, tag_part

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
RELEASE = re.compile(r"paddleocr-vl(?:-(\d+(?:\.\d+)*))?", re.IGNORECASE)
EXAMPLE = "PaddlePaddle/PaddleOCR-VL-1.5"
HUB_SECONDS = 10.0  # for the hub's first answer
SILENT_SECONDS = 30.0  # after which a connection that brings nothing is given up
PAUSE_SECONDS = 1.0  # before a broken connection is made again
FRUITLESS_TRIES = 5  # in a row without one more byte, after which the hub counts as unreachable

Say = Callable[[str], None]  # takes a line for the operator


class SourceError(StoreError):
    """The hub's model cannot be had; the message says what to do."""


class UnreachableError(SourceError):
    pass


@dataclass(frozen=True)
class Listed:
    """A file as the hub's index has it."""

    size: int  # bytes
    digest: str  # 64 digits: sha256, of what is in LFS; 40: git's blob id, of what is not; else the hub tells none

    @property
    def in_lfs(self) -> bool:
        return SHA256.fullmatch(self.digest) is not None


Index = dict[str, Listed]  # by name, of the files that serving needs


def fetch(store: Any, reference: str, say: Say) -> str:
    """The tag of "HUB_ID@COMMIT", which is put into `store` (`bentoml.models`) unless it is there.

    Where the store holds that commit whole, the hub is not asked. Any number of processes may do so at once. `COMMIT`
    has all 40 digits: what a first start fetches must not depend on its day. Raises StoreError, and OSError where the
    disk fails.
    """
    repository, _, commit = reference.partition("@")
    if not (HUB_ID.fullmatch(repository) and COMMIT.fullmatch(commit)):
        raise SourceError(
            f"{reference!r} names no commit of a hub's repository. Use HUB_ID@COMMIT with the commit's 40 hexadecimal "
            f"digits, like {EXAMPLE}@{'0123456789' * 4}. A branch or tag would mean another model one day."
        )
    tag, known = import_revision(store, repository, commit, say)
    if not known:
        say(f"{tag} is in the model store now.")
    return tag


def import_revision(store: Any, repository: str, revision: str, say: Say, name: str | None = None) -> tuple[str, bool]:
    """Put what `revision` (commit, branch or tag) stands for into `store` unless it is there whole.

    Returns the tag, whose name may be given, and whether it was there: then nothing is downloaded, and of a commit the
    hub is not even asked. Every downloaded file must have the sum that the hub's index tells; `say` names those that it
    tells none of. Where the hub cannot be reached, a commit that its cache holds is taken all the same, since those who
    carry a cache to a machine without network mean it: the weights are then checked by the sha256 that the cache noted
    at the download. Raises StoreError, OSError.
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
        say(f"{_endpoint()} cannot be reached to check what its cache holds of {repository} at {revision}.")
        commit, folder, index = revision, cached, _noted(cached)
    else:
        if commit != revision:
            say(f"{repository}: {revision} is now commit {commit}. Import just this one with --revision {commit}")
            if is_known(commit):
                return tag_of(commit), True
        say(f"Fetching {repository} at {commit} from {_endpoint()}")
        folder = _download(repository, commit, index, say)
    _check(folder, index, f"{repository} at {commit}", say)
    description = describe(folder, tag=tag_of(commit), source=repository, revision=commit)
    return put(store, replace(description, lasting=True)), False


def hub_tag(repository: str, commit: str) -> str:
    """PaddlePaddle/PaddleOCR-VL-1.5 -> paddleocr-vl:1.5-1a2b3c4d; any other name -> that-name:1a2b3c4d"""
    name = repository.rpartition("/")[2]
    if release := RELEASE.fullmatch(name):
        return f"paddleocr-vl:{release[1] or '1.0'}-{commit[:8]}"
    return f"{tag_part(name)}:{commit[:8]}"


def _ask(repository: str, revision: str) -> tuple[str, Index]:
    """The commit that `revision` stands for, and its files. One request without retries: no hub is told in seconds."""
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
    """Other models lie in folders of their own."""
    return name in SIDE_FILES or (name.endswith(".safetensors") and "/" not in name)


def _download(repository: str, commit: str, index: Index, say: Say) -> Path:
    """The folder of the commit's files. What an earlier try has received is not asked for again."""
    with _explained(repository, commit):
        for name, listed in index.items():
            if listed.in_lfs:
                _receive(repository, commit, name, listed, say)
        return _snapshot(repository, commit)


def _cached(repository: str, commit: str) -> Path | None:
    """The folder of the commit's files where the hub's cache has them all."""
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


def _receive(repository: str, commit: str, name: str, listed: Listed, say: Say) -> None:
    """One file into the hub's cache, from where an earlier try stopped, in whichever process."""
    from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.file_download import repo_folder_name

    if isinstance(try_to_load_from_cache(repository, name, revision=commit), str):
        return
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model") / "blobs"
    folder.mkdir(parents=True, exist_ok=True)
    blob, part = folder / listed.digest, folder / f"{listed.digest}.incomplete"
    with open(os.open(part, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
        # Where a file system has no locks, two processes write the same bytes to the same places.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if blob.exists():  # by the process that had the lock
            part.unlink(missing_ok=True)
            return
        have = file.seek(0, os.SEEK_END)
        say(f"Downloading {name}: {have / 1e6:.1f} of {listed.size / 1e6:.1f} MB are here already.")
        _receive_rest(hf_hub_url(repository, name, revision=commit), file, listed.size, name)
        part.replace(blob)


def _receive_rest(address: str, file: BinaryIO, size: int, name: str) -> None:
    """Append to `file` until it has `size` bytes; again and again as long as each connection brings some."""
    import httpx2
    from huggingface_hub import utils as untyped

    utils: Any = untyped
    fruitless = 0
    have = file.seek(0, os.SEEK_END)
    with utils.tqdm(total=size, initial=have, unit="B", unit_scale=True, desc=name, disable=None) as bar:
        while have < size:
            # Packed on the way, a file has no byte to go on from.
            headers = utils.build_hf_headers() | {"Accept-Encoding": "identity", "Range": f"bytes={have}-"}
            failure: httpx2.TransportError = httpx2.ReadError(f"{name} ends after {have} of {size} bytes")
            try:
                # Failures come after the answer's beginning, too, where huggingface_hub cannot try again.
                with utils.http_stream_backoff(
                    "GET", address, headers=headers, timeout=SILENT_SECONDS, retry_on_exceptions=()
                ) as answer:
                    utils.hf_raise_for_status(answer)
                    file.seek(have if answer.status_code == httpx2.codes.PARTIAL_CONTENT else 0)
                    for piece in answer.iter_raw():
                        file.write(piece)
                        file.flush()  # a process may be killed
                        bar.update(file.tell() - bar.n)
            except httpx2.TransportError as error:
                failure = error
            before, have = have, file.seek(0, os.SEEK_END)
            fruitless = 0 if have > before else fruitless + 1
            if fruitless == FRUITLESS_TRIES:
                raise failure
            if have < size:
                time.sleep(PAUSE_SECONDS)


def _check(folder: Path, index: Index, what: str, say: Say) -> None:
    """Raises SourceError for a file that is not what the index tells; its copy is removed from the cache."""
    unknown = []
    for path in sorted(folder.iterdir()):
        if not _is_wanted(path.name):
            continue
        told = index[path.name].digest if path.name in index else ""
        found = _digest(path, len(told))
        if not found:
            unknown.append(path.name)
        elif found != told:
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            kind = "sha256" if len(told) == 64 else "git blob id"
            raise SourceError(
                f"{path.name} of {what} has {kind} {found}. Not {told}, which the hub tells. The copy is removed: try "
                "again to download it anew. If that does not help, something between here and the hub "
                f"({_endpoint()}) changes or cuts files."
            )
    if unknown:
        say(f"No sum is known to check these files of {what} against: {', '.join(unknown)}")


def _noted(folder: Path) -> Index:
    """What the cache itself tells: its files are links to ones that are named by what the hub told at the download.

    Of files outside LFS the names are taken for no sums, since mirrors have their own ways to make them.
    """
    links = {path.name: Path(os.readlink(path)).name for path in folder.iterdir() if path.is_symlink()}
    return {name: Listed(0, target) for name, target in links.items() if SHA256.fullmatch(target)}


def _digest(file: Path, digits: int) -> str:
    """The sum of `file` that has so many hexadecimal digits; empty where there is no such one."""
    if digits == 64:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    if digits == 40:
        content = file.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return ""


@contextlib.contextmanager
def _explained(repository: str, revision: str) -> Iterator[None]:
    """huggingface_hub's errors as SourceError, with what to do."""
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
        raise SourceError(f"{repository} has no revision {revision!r}. The newest is called main.") from error
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
            "a download that was cut goes on where it stopped. Or copy the repository's files here by other means and "
            "import their folder: scripts/import_model.py FOLDER"
        ) from error


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT
