"""What the arguments of `ocr` name -> files, each with the place of its result below the output folder."""

import glob
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import httpx2

from cli.errors import UnreadableFileError, UsageError

SUFFIXES = set(".pdf .png .jpg .jpeg .jpe .webp .bmp .gif .tif .tiff .heic .heif .avif".split())
STDIN = "-"
MAX_BYTES = 2**29  # the largest document that is fetched
SECONDS = 120


@dataclass(frozen=True)
class Source:
    """A document that is to be read."""

    shown: str  # as the user named it
    place: PurePosixPath  # below the output folder, with the file's own suffix
    path: Path | None = None  # None: standard input or an address

    @property
    def is_address(self) -> bool:
        return self.path is None and self.shown != STDIN

    def data(self) -> bytes:
        """Raises OSError, UnreadableFileError."""
        if self.path is not None:
            return self.path.read_bytes()
        return _fetched(self.shown) if self.is_address else sys.stdin.buffer.read()


def sources(arguments: Sequence[str], *, recursive: bool) -> list[Source]:
    """All that is named, each once. Raises UsageError for what is not there."""
    found: dict[PurePosixPath | str, Source] = {}
    for argument in arguments:
        for source in _named(argument, recursive):
            found.setdefault(str(source.path or source.shown), source)
    return list(found.values())


def in_folder(folder: Path, *, recursive: bool) -> Iterator[Source]:
    """Documents in a folder by their suffixes, hidden ones left out."""
    for path in sorted(folder.rglob("*") if recursive else folder.iterdir()):
        place = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in place.parts)
        if path.suffix.lower() in SUFFIXES and not hidden and path.is_file():
            yield Source(str(path), PurePosixPath(*place.parts), path)


def _named(argument: str, recursive: bool) -> Iterator[Source]:
    if argument == STDIN:
        yield Source(STDIN, PurePosixPath("stdin"))
        return
    if argument.startswith(("http://", "https://")):
        name = PurePosixPath(unquote(urlsplit(argument).path)).name or "document"
        yield Source(argument, PurePosixPath(name))
        return
    path = Path(argument)
    if path.is_dir():
        yield from in_folder(path, recursive=recursive)
    elif path.exists():
        yield Source(argument, PurePosixPath(path.name), path)
    else:
        matches = sorted(glob.glob(argument, recursive=True))  # a shell that did not expand it, or quotes
        if not matches:
            raise UsageError(f"{argument} does not exist.")
        for match in matches:
            yield from _named(match, recursive)


def _fetched(url: str) -> bytes:
    try:
        with httpx2.stream("GET", url, follow_redirects=True, timeout=SECONDS) as answer:
            answer.raise_for_status()
            data = bytearray()
            for piece in answer.iter_bytes():
                data += piece
                if len(data) > MAX_BYTES:
                    raise UnreadableFileError(f"this has more than {MAX_BYTES} bytes.")
            return bytes(data)
    except httpx2.HTTPError as error:
        raise UnreadableFileError(f"this cannot be fetched: {error}") from None
