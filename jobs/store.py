"""Documents and results, by fsspec: in a local folder or wherever an address such as s3://bucket/prefix says.

The database holds only names in here. All files of a job lie in a folder of its own:

    JOB/source            the document, as it was uploaded or fetched
    JOB/split/0001        its pages, until the job is done
    JOB/pages/0001.json   what was read on each page
    JOB/result/...        what was made of them

A file beside them, MARKER, is there for as long as the store is: where it is missing, as in the empty folder that a
mount leaves behind, the store is gone, and its files are not lost.
"""

import io
import os
import secrets
import shutil
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import obstore.fsspec
from fsspec.implementations.local import LocalFileSystem

MARKER = ".store"
PIECE = 2**20  # bytes that are copied at once
OBJECT_STORES = ("s3", "gs", "az")
RETRIES: dict[str, Any] = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}  # those who wait try on
TIMES: dict[str, Any] = {"connect_timeout": "5s", "read_timeout": "20s", "timeout": "300s"}
LONGEST = 400  # characters of what a file system says
CHECKED = bytes(2**14)  # about what is read on a page: a store that is full may still take an empty file

obstore.fsspec.register(OBJECT_STORES)


class StoreError(Exception):
    """The store cannot be reached, or is full."""


class Store:
    """Files by name. Thread-safe. Methods raise StoreError; what is there is whole, whenever a process ends.

    FileNotFoundError says that a store which is there does not have the file.
    """

    def __init__(self, address: str) -> None:
        """Raises ValueError for an address that no installed package of fsspec serves."""
        options: dict[str, Any] = {}
        if fsspec.utils.get_protocol(address) in OBJECT_STORES:
            options = {"retry_config": RETRIES, "client_options": TIMES | {"allow_http": True}}
        try:
            self._files, self._root = fsspec.core.url_to_fs(address, **options)
        except (ImportError, ValueError, OSError) as error:
            raise ValueError(f"JOBS_STORE: {error}") from error
        self.local = isinstance(self._files, LocalFileSystem)
        self._found = False  # once this process has seen the store

    def path(self, name: str) -> str:
        """A file's path in its file system; for a local store, on this machine."""
        return f"{self._root}/{name}"

    def put(self, name: str, data: bytes) -> None:
        self.copy(name, io.BytesIO(data))

    def copy(self, name: str, source: BinaryIO) -> None:
        """Keep what a file holds from where it stands."""
        with _translated(name, absent_is_an_answer=False):
            self._be_there()
            if not self.local:
                self._files.pipe_file(self.path(name), source.read())  # a file that is written in pieces may end early
                return
            path = self._folder_of(name)
            part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            try:
                with part.open("wb") as file:
                    shutil.copyfileobj(source, file, PIECE)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    def get(self, name: str) -> bytes:
        """Raises FileNotFoundError, too."""
        with _translated(name):
            try:
                return bytes(self._files.cat_file(self.path(name)))
            except FileNotFoundError:
                self._be_there()
                raise

    def open(self, name: str) -> BinaryIO:
        """A file to read from. Raises FileNotFoundError, too."""
        if not self.exists(name):
            raise FileNotFoundError(name)
        with _translated(name):
            file: BinaryIO = self._files.open(self.path(name), "rb")
            return file

    def exists(self, name: str) -> bool:
        with _translated(name):
            if self._files.exists(self.path(name)):
                return True
            self._be_there()
            return False

    def names(self, folder: str = "") -> list[str]:
        """Names of what is in a folder; none if it is not there."""
        with _translated(folder):
            try:
                self._files.invalidate_cache()
                found: Iterable[str] = self._files.ls(self.path(folder).rstrip("/"), detail=False)
            except FileNotFoundError:
                self._be_there()
                return []
            return sorted({path.rstrip("/").rsplit("/", 1)[1] for path in found} - {MARKER})

    def remove(self, folder: str) -> None:
        """Remove a folder with all that is in it, or a file, if it is there."""
        with _translated(folder):
            try:
                self._files.rm(self.path(folder), recursive=True)
            except FileNotFoundError:
                self._be_there()

    def check(self) -> None:
        """Raises StoreError if nothing can be written."""
        name = f".check.{secrets.token_hex(4)}"
        self.put(name, CHECKED)
        self.remove(name)

    def _be_there(self) -> None:
        """Make the store if this process has not found it yet. Raises StoreError if it was there and now is not."""
        if self._files.exists(self.path(MARKER)):
            self._found = True
            return
        if self._found:
            raise StoreError(f"the store of documents is gone: there is no {self.path(MARKER)}")
        self._files.makedirs(self._root, exist_ok=True)
        self._files.pipe_file(self.path(MARKER), b"")
        self._found = True

    def _folder_of(self, name: str) -> Path:
        """A file's path on this machine, with folders for it; a root that has just gone is not made again."""
        path = Path(self._root)
        for folder in name.split("/")[:-1]:
            path /= folder
            path.mkdir(exist_ok=True)
        return path / name.rsplit("/", 1)[-1]


class _translated:  # noqa: N801 - a context, used like a function
    """Whatever a file system raises, as StoreError; but FileNotFoundError stays as it is, where it is an answer."""

    def __init__(self, name: str, *, absent_is_an_answer: bool = True) -> None:
        self._name = name
        self._kept = (FileNotFoundError, StoreError) if absent_is_an_answer else (StoreError,)

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if error is None or isinstance(error, self._kept) or not isinstance(error, Exception):
            return
        said = " ".join(str(error).partition("\n\nDebug source")[0].split())[:LONGEST]
        raise StoreError(f"the store of documents cannot be used, at {self._name or 'its root'}: {said}") from error
