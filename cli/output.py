"""Results as files: whole or not at all, in a tree like the sources', with a list of what is done."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from threading import Lock

from cli.sources import Source

LIST = ".paddleocr-vl.jsonl"
Placed = tuple[Source, PurePosixPath]  # with the place of its result


class Outputs:
    """The output folder. A document is done if the list has its place with the same content and wishes."""

    def __init__(self, folder: Path, suffixes: Sequence[str], wishes: str) -> None:
        """`suffixes` of the files made of each document; `wishes`: what a result depends on besides it."""
        self._folder, self._suffixes, self._wishes = folder, suffixes, wishes
        self._lock = Lock()
        self._done: dict[str, str] = {}  # place -> digest
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / LIST).exists():
            for line in (folder / LIST).read_text(encoding="utf-8").splitlines():
                self._note(line)

    def _note(self, line: str) -> None:
        try:
            entry = json.loads(line)
            self._done[entry["place"]] = entry["digest"]
        except (ValueError, KeyError):  # the last line of a process that was killed
            pass

    def digest(self, data: bytes) -> str:
        return hashlib.sha256(self._wishes.encode() + b"\0" + data).hexdigest()

    def is_done(self, place: PurePosixPath, digest: str) -> bool:
        files = (self._folder / f"{place}{suffix}" for suffix in self._suffixes)
        return self._done.get(str(place)) == digest and all(file.exists() for file in files)

    def write(self, place: PurePosixPath, digest: str, files: Mapping[str, bytes]) -> None:
        """Write a document's files, by suffix or name below its place's folder, and note it as done. Raises OSError."""
        for name, data in files.items():
            file = self._folder / (f"{place}{name}" if name.startswith(".") else place.parent / name)
            file.parent.mkdir(parents=True, exist_ok=True)
            with whole(file) as part:
                part.write_bytes(data)
        with self._lock, (self._folder / LIST).open("a", encoding="utf-8") as done:
            done.write(json.dumps({"place": str(place), "digest": digest}) + "\n")
            self._done[str(place)] = digest


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A place for what becomes `file` at the end, unless an error ends it."""
    part = file.with_name(f".{file.name}.part")
    try:
        yield part
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def placed(found: Sequence[Source]) -> list[Placed]:
    return list(zip(found, places(found), strict=True))


def places(found: Sequence[Source]) -> list[PurePosixPath]:
    """The place of each result, without a suffix: `a/scan` for `a/scan.pdf`; whole names where two would be one."""
    plain = [source.place.with_suffix("") for source in found]
    count = Counter(str(place).casefold() for place in plain)
    made: list[PurePosixPath] = []
    taken: Counter[str] = Counter()
    for place, source in zip(plain, found, strict=True):
        own = place if count[str(place).casefold()] == 1 else source.place
        taken[str(own).casefold()] += 1
        again = taken[str(own).casefold()]
        made.append(own if again == 1 else own.with_name(f"{own.name}-{again}"))
    return made
