#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Puts a PaddleOCR-VL checkpoint into BentoML's model store: scripts/import_model.py SOURCE

SOURCE is `tiny` (the embedded checkpoint), a local folder, or a hub id like PaddlePaddle/PaddleOCR-VL-1.5. The tag
names the exact revision or content, so that a service which refers to it never changes silently.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bentoml
import httpx2
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from models.store import (
    SIDE_FILES,
    Description,
    StoreError,
    checked_tag,
    describe,
    describe_embedded,
    is_stored,
    put,
    tag_part,
)

EXAMPLE = "PaddlePaddle/PaddleOCR-VL-1.5"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
RELEASE = re.compile(r"paddleocr-vl(?:-(\d+(?:\.\d+)*))?", re.IGNORECASE)
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_SECONDS = 10.0  # for the hub's first answer


class SourceError(ValueError):
    """SOURCE cannot be had; the message says what to do."""


def main(arguments: Sequence[str] | None = None, store: Any = bentoml.models) -> int:
    options = parse(arguments)
    try:
        description = find(options.source, options.revision, options.name)
        known = is_stored(store, description)
        put(store, description)
    except (StoreError, SourceError, OSError) as error:
        print(f"import_model: {error}", file=sys.stderr)
        return 1
    size = sum(file.stat().st_size for file in description.files)
    parameters = description.metadata["parameters"] / 1e6
    done = "Already in the store, nothing to do" if known else "Imported"
    print(
        f"{done}: {description.tag} ({parameters:.1f} M parameters, {description.labels['dtype']}, {size / 1e6:.0f} MB)"
    )
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Put a PaddleOCR-VL checkpoint into BentoML's model store.")
    parser.add_argument("source", help=f"'tiny', a local folder, or a hub id like {EXAMPLE}")
    parser.add_argument("--revision", help="of a hub id: branch, tag or commit (default: main)")
    parser.add_argument("--name", help="the tag's name, before the colon (default: by SOURCE)")
    return parser.parse_args(arguments)


def find(source: str, revision: str | None, name: str | None) -> Description:
    """The model that SOURCE means, downloaded where need be. Raises SourceError, StoreError."""
    if name:
        checked_tag(f"{name}:1")  # before the download
    is_hub_id = source != "tiny" and not Path(source).is_dir() and HUB_ID.fullmatch(source) is not None
    if revision and not is_hub_id:
        raise SourceError(f"--revision is for hub ids, and {source!r} is none. Leave it out.")
    if is_hub_id:
        description = from_hub(source, revision or "main")
    elif source == "tiny":
        description = describe_embedded()
    elif Path(source).is_dir():
        description = describe(Path(source))
    else:
        raise SourceError(f"{source!r} is not a folder. Use 'tiny', a local folder, or a hub id like {EXAMPLE}.")
    return description.named(name) if name else description


def from_hub(repository: str, revision: str) -> Description:
    """One commit of a hub repository, downloaded. Raises SourceError, StoreError."""
    commit = resolve(repository, revision)
    if commit != revision:
        print(f"{repository}: {revision} is now commit {commit}. Import just this one with --revision {commit}")
    return describe(download(repository, commit), tag=hub_tag(repository, commit), source=repository, revision=commit)


def hub_tag(repository: str, commit: str) -> str:
    """PaddlePaddle/PaddleOCR-VL-1.5 -> paddleocr-vl:1.5-1a2b3c4d; any other name -> that-name:1a2b3c4d"""
    name = repository.rpartition("/")[2]
    if release := RELEASE.fullmatch(name):
        return f"paddleocr-vl:{release[1] or '1.0'}-{commit[:8]}"
    return f"{tag_part(name)}:{commit[:8]}"


def resolve(repository: str, revision: str) -> str:
    """The commit that `revision` stands for. One request without retries: no hub is told in seconds.

    Raises SourceError.
    """
    try:
        commit = HfApi().model_info(repository, revision=revision, timeout=HUB_SECONDS).sha
    except RevisionNotFoundError as error:
        raise SourceError(f"{repository} has no revision {revision!r}. Leave --revision out for the newest.") from error
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise SourceError(
            f"The hub shows no {repository!r}. Check its spelling; if it is private or gated, set HF_TOKEN."
        ) from error
    except (httpx2.HTTPError, OfflineModeIsEnabled) as error:
        if COMMIT.fullmatch(revision) and is_downloaded(repository, revision):
            return revision
        raise unreachable(repository, error) from error
    except HFValidationError as error:
        raise SourceError(f"{repository!r} is not a hub id: {error}") from error
    if commit is None:
        raise SourceError(f"The hub tells no commit for {repository} at {revision!r}. Give one with --revision.")
    return commit


def download(repository: str, commit: str, *, local: bool = False) -> Path:
    """The folder of `commit`'s files, from the hub or, with `local`, from its cache alone. Raises SourceError."""
    try:
        return Path(
            snapshot_download(
                repository,
                revision=commit,
                allow_patterns=[*SIDE_FILES, "*.safetensors"],
                ignore_patterns=["*/*"],  # other models in folders of their own
                local_files_only=local,
            )
        )
    except (httpx2.HTTPError, LocalEntryNotFoundError) as error:
        raise unreachable(repository, error) from error


def is_downloaded(repository: str, commit: str) -> bool:
    try:
        download(repository, commit, local=True)
    except SourceError:
        return False
    return True


def unreachable(repository: str, error: Exception) -> SourceError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return SourceError(
        f"{repository} could not be fetched from {constants.ENDPOINT}: {reason}. Check the network and HF_ENDPOINT; "
        "a download that was cut goes on where it stopped. Or copy the repository's files here by other means and "
        "import their folder: scripts/import_model.py FOLDER"
    )


if __name__ == "__main__":
    sys.exit(main())
