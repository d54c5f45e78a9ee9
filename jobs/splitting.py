"""A document in the store -> its pages there, each a file of its own that the server can read."""

import asyncio
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

from images.loading import ImageLimits
from jobs.failures import of_input
from jobs.job import Job, ranges
from jobs.kinds import HEAD, KNOWN, FileKind, file_kind
from jobs.splitters import Splitters
from jobs.store import Store

logger = logging.getLogger(__name__)

SECONDS = 120.0  # for a document, and
SECONDS_PER_MEBIBYTE = 2.0  # for each of its mebibytes


@dataclass(frozen=True)
class Pages:
    """The pages of a document."""

    kind: FileKind
    numbers: list[int]  # from 1, as the document counts them
    size: int  # bytes of the document

    def file(self, job: str, number: int) -> str:
        """Name of a page in the store."""
        return source_of(job) if self.kind == "image" else f"{job}/split/{number:04}"


def source_of(job: str) -> str:
    return f"{job}/source"


async def split(store: Store, splitters: Splitters, job: Job, max_pages: int) -> Pages:
    """Split a document that is in the store. Raises Failure, StoreError."""
    with tempfile.TemporaryDirectory() as folder:
        source = await asyncio.to_thread(_local, store, job.id, Path(folder))
        size = source.stat().st_size
        with source.open("rb") as file:
            kind = file_kind(file.read(HEAD))
        if kind is None:
            raise of_input("invalid_document", f"the data is not a document in a supported format: {KNOWN}")
        if kind == "image":
            if job.options.pages is not None and ranges(job.options.pages) != [(1, 1)]:
                raise of_input("invalid_document", "the document is an image, which has one page; leave `pages` out")
            return Pages(kind, [1], size)
        numbers = await _run(splitters, source, Path(folder), job, max_pages, size)
        for number in numbers:
            await asyncio.to_thread(_keep, store, f"{job.id}/split/{number:04}", Path(folder) / f"{number:04}")
        return Pages(kind, numbers, size)


def _local(store: Store, job: str, folder: Path) -> Path:
    """The document on this machine."""
    name = source_of(job)
    if store.local:
        return Path(store.path(name))
    copy = folder / "source"
    with store.open(name) as file, copy.open("wb") as local:
        while piece := file.read(2**20):
            local.write(piece)
    return copy


def _keep(store: Store, name: str, file: Path) -> None:
    with file.open("rb") as opened:
        store.copy(name, opened)
    file.unlink()


async def _run(splitters: Splitters, source: Path, folder: Path, job: Job, max_pages: int, size: int) -> list[int]:
    """Numbers of the pages that a splitter made; tried twice, as another cause, such as the OOM killer, may end it."""
    order = {
        "source": str(source),
        "folder": str(folder),
        "max_pages": max_pages,
        "max_pixels": ImageLimits.max_image_pixels,
        "wanted": ranges(job.options.pages) if job.options.pages else [],
    }
    seconds = SECONDS + SECONDS_PER_MEBIBYTE * size / 2**20
    for again in (False, True):
        reply = await asyncio.to_thread(splitters.ask, order, seconds)
        if reply is not None and "refused" in reply:
            raise of_input("invalid_document", str(reply["refused"]))
        if reply is not None:
            return [int(number) for number in reply["pages"]]
        facts = {"job": job.id}
        logger.warning("A splitter ended over a document%s", ", twice" if again else "", extra={"facts": facts})
    raise of_input("decoder_ended", "the document cannot be split into its pages: the decoder crashed or hung over it")
