"""The files of the page for people: open, guarded by their headers, and what was vendored unchanged."""

from hashlib import sha256

from starlette.testclient import TestClient

from api.app import create_app
from api.keys import Keys
from api.page import FOLDER
from tests.keys import ALICE


def client(*, page: bool) -> TestClient:
    app = create_app(max_request_bytes=2**20, keys=Keys(f"alice:{ALICE}"), page=page)
    return TestClient(app, raise_server_exceptions=False)


def test_the_page_and_its_files_need_no_key_and_no_model() -> None:
    files = client(page=True)
    index = files.get("/")
    assert index.headers["content-type"].startswith("text/html")
    assert "script-src 'self';" in index.headers["content-security-policy"]
    script = files.get("/ui/main.js", headers={"accept-encoding": "gzip"})
    assert (script.status_code, script.headers["content-encoding"]) == (200, "gzip")
    for path in ("/ui", "/ui/../settings.py", "/ui/%2e%2e/settings.py", "/ui/none.js", "/v1/models"):
        assert files.get(path).status_code in (401, 404), path


def test_where_the_page_is_turned_off_its_path_is_as_any_other() -> None:
    files = client(page=False)
    assert (files.get("/").status_code, files.get("/ui/main.js").status_code) == (401, 401)


def test_vendored_files_are_those_that_were_published() -> None:
    folder = FOLDER / "vendor"
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    sums = {line[66:]: line[:64] for line in lines}
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert files - {"SHA256SUMS", "README.md"} == set(sums)
    assert {name: sha256((folder / name).read_bytes()).hexdigest() for name in sums} == sums
