"""The store of documents: whole files or none, in a folder or by another address of fsspec."""

import io
from pathlib import Path

import pytest

from jobs.store import Store, StoreError


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path / "documents") if request.param == "folder" else f"memory://{tmp_path.name}")


def test_what_is_put_can_be_had(store: Store) -> None:
    store.put("job/pages/0001.json", b"{}")
    store.copy("job/source", io.BytesIO(b"document"))
    assert store.get("job/pages/0001.json") == b"{}"
    with store.open("job/source") as file:
        assert file.read() == b"document"
    assert store.names("job") == ["pages", "source"]
    assert store.exists("job/source")
    store.put("job/source", b"another")
    assert store.get("job/source") == b"another"


def test_what_is_removed_is_gone_and_may_be_removed_again(store: Store) -> None:
    store.put("job/pages/0001.json", b"{}")
    for _ in range(2):
        store.remove("job")
    assert not store.exists("job/pages/0001.json")
    assert store.names() == []
    with pytest.raises(FileNotFoundError):
        store.get("job/pages/0001.json")


class Broken(io.BytesIO):
    def read(self, _: int | None = -1) -> bytes:
        raise OSError("the upload broke off")


def test_a_file_that_cannot_be_written_to_its_end_is_not_there_and_harms_no_older_one(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.put("job/source", b"older")
    with pytest.raises(StoreError, match="the upload broke off"):
        store.copy("job/source", Broken())
    assert store.get("job/source") == b"older"
    assert store.names("job") == ["source"]


def test_a_store_that_cannot_be_written_to_says_so(tmp_path: Path) -> None:
    (tmp_path / "documents").write_text("a file")
    with pytest.raises(StoreError, match="the store of documents cannot be used, at"):
        Store(str(tmp_path / "documents")).check()


def test_an_address_that_no_package_serves_is_named() -> None:
    with pytest.raises(ValueError, match="JOBS_STORE: Protocol not known: nowhere"):
        Store("nowhere://bucket")


def test_a_store_that_is_gone_says_so_of_every_file_and_is_not_made_anew(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "documents"))
    store.put("job/source", b"document")
    (tmp_path / "documents").rename(tmp_path / "away")
    for use in (store.get, store.open, store.exists, store.names, store.remove, lambda name: store.put(name, b"")):
        with pytest.raises(StoreError, match="the store of documents"):
            use("job/source")
    (tmp_path / "documents").mkdir()  # as a mount leaves it behind
    with pytest.raises(StoreError, match="is gone"):
        store.get("job/source")
    (tmp_path / "documents").rmdir()
    (tmp_path / "away").rename(tmp_path / "documents")
    assert store.get("job/source") == b"document"
