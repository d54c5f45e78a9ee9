"""Fetches of file:// URLs: only files inside the media folder are read."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.file_server import IMAGE, get, refused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """media/ with an image in it, next to a file outside of it that must not be read."""
    (tmp_path / "secret.png").write_bytes(b"secret")
    media = tmp_path / "media"
    (media / "inner").mkdir(parents=True)
    (media / "page 1.png").write_bytes(IMAGE)
    return media


@pytest.mark.parametrize("host", ["", "localhost", "LOCALHOST"])
def test_a_file_in_the_media_folder_is_read(folder: Path, host: str) -> None:
    assert get(f"file://{host}{folder}/page%201.png", media_folder=folder) == IMAGE


def test_a_path_that_returns_into_the_folder_is_read(folder: Path) -> None:
    assert get(f"file://{folder}/inner/../page 1.png", media_folder=folder) == IMAGE


def test_a_link_within_the_folder_is_followed(folder: Path) -> None:
    (folder / "inner" / "link.png").symlink_to(folder / "page 1.png")
    assert get(f"file://{folder}/inner/link.png", media_folder=folder) == IMAGE


def test_the_folder_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert get(f"file://{tmp_path}/link/page%201.png", media_folder=tmp_path / "link") == IMAGE


def test_a_name_that_is_not_utf_8_is_read(folder: Path) -> None:
    try:
        (folder / os.fsdecode(b"\xff?.png")).write_bytes(IMAGE)
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    assert get(f"file://{folder}/%FF%3F.png", media_folder=folder) == IMAGE


def test_no_file_is_read_unless_a_folder_is_allowed(folder: Path) -> None:
    assert "none may be read" in refused(f"file://{folder}/page%201.png")


def test_every_path_without_a_file_in_the_folder_gets_the_same_answer(folder: Path) -> None:
    (folder / "out.png").symlink_to(folder.parent / "secret.png")
    (folder / "up").symlink_to(folder.parent)
    (folder / "loop").symlink_to(folder / "loop")
    (folder.parent / "media-2").mkdir()
    (folder.parent / "media-2" / "page.png").write_bytes(b"secret")
    os.mkfifo(folder / "pipe")
    within = ["none.png", "out.png", "up/secret.png", "loop", "../secret.png", "%2e%2e/secret.png", "..%2Fsecret.png"]
    within += ["..%2Fnone.png", "inner", "", "pipe", "page%201.png%00", "%252e%252e/secret.png"]
    within += ["../media-2/page.png", "a" * 5000, "\ud800", "/../../secret.png"]
    urls = [f"file://{folder}/{path}" for path in within] + ["file:///etc/passwd", "file:///none", "file:///dev/zero"]
    answers = {refused(url, media_folder=folder) for url in urls}
    assert answers == {"the URL does not name a readable file in the media folder"}


def test_a_file_that_may_not_be_read_gets_the_same_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: Any) -> None:  # simulated, since root may read everything
        raise PermissionError

    monkeypatch.setattr(Path, "open", forbid)
    assert "does not name a readable file" in refused(f"file://{folder}/page%201.png", media_folder=folder)


def test_a_missing_folder_has_no_files(tmp_path: Path) -> None:
    assert "does not name a readable file" in refused(
        f"file://{tmp_path}/gone/page.png", media_folder=tmp_path / "gone"
    )


def test_a_file_over_the_limit_is_refused(folder: Path) -> None:
    url = f"file://{folder}/page%201.png"
    assert get(url, media_folder=folder, max_bytes=len(IMAGE)) == IMAGE
    assert "more than 1000 bytes" in refused(url, media_folder=folder, max_bytes=1000)


@pytest.mark.parametrize("url", ["file://server/share/page.png", "file:///page.png?x", "file:///page.png#x"])
def test_a_file_url_has_a_local_path_and_nothing_else(folder: Path, url: str) -> None:
    assert "file:///path" in refused(url, media_folder=folder)
