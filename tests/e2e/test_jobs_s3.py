"""Documents and results in a bucket of moto's S3 server; the model server takes a fixed time for a page."""

import io
import json
import zipfile
from collections.abc import Iterator

import pypdf
import pytest

from jobs.store import Store, StoreError
from tests.ocr_service import Service, pdf, running, until
from tests.page_server import page_server
from tests.s3_server import BUCKET, S3Server, s3_server

PREFIX = "ocr"
ADDRESS = f"s3://{BUCKET}/{PREFIX}"
PAGES = 24
READING = 0.2  # seconds for a page


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def keys(bucket: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def api(bucket: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The OCR API with a worker in it, which keeps nothing but its database on this machine."""
    with page_server(tmp_path_factory.mktemp("pages"), READING) as pages:
        settings = {"VLLM_URL": pages.url, "JOBS_PAGES": "2", "JOBS_STORE": ADDRESS}
        with running(tmp_path_factory.mktemp("ocr"), **settings, **bucket.environment) as service:
            yield service


@pytest.mark.usefixtures("keys")
def test_files_in_a_bucket_are_had_listed_replaced_and_removed() -> None:
    store = Store(f"s3://{BUCKET}/alone")
    large = bytes(range(256)) * 2**16  # more than one part
    store.put("job/pages/0001.json", b"{}")
    store.copy("job/source", io.BytesIO(large))
    assert store.get("job/source") == large
    with store.open("job/source") as file:
        assert (file.read(4), len(file.read())) == (large[:4], len(large) - 4)
    assert store.names("job") == ["pages", "source"]
    store.put("job/source", b"another")
    assert store.get("job/source") == b"another"
    store.check()
    for _ in range(2):
        store.remove("job")
    assert not store.exists("job/source")
    assert (store.names("job"), store.names()) == ([], [])
    for read in (store.get, store.open):
        with pytest.raises(FileNotFoundError):
            read("job/source")


@pytest.mark.usefixtures("keys")
def test_a_bucket_that_was_never_there_is_named() -> None:
    with pytest.raises(StoreError, match="NoSuchBucket") as raised:
        Store("s3://nowhere/ocr").check()
    assert len(str(raised.value)) < 500
    assert "\n" not in str(raised.value)


def test_a_document_becomes_all_its_results_which_go_with_their_job(api: Service, bucket: S3Server) -> None:
    job = api.submit(pdf(2), formats="markdown,json,text,zip,pdf")
    assert api.wait(job)["status"] == "done"
    assert api.result(job).count(b"ends.") == 2
    assert len(json.loads(api.result(job, "json"))["pages"]) == 2
    assert len(pypdf.PdfReader(io.BytesIO(api.result(job, "pdf"))).pages) == 2
    with zipfile.ZipFile(io.BytesIO(api.result(job, "zip"))) as archive:
        assert archive.read("document.md") == api.result(job)
    assert f"{PREFIX}/{job}/source" in bucket.names()
    assert not (api.folder / "documents").exists()
    assert api.ask("DELETE", f"/v1/jobs/{job}").status_code == 204
    assert [name for name in bucket.names() if job in name] == []


def test_a_bucket_that_is_gone_refuses_new_jobs_and_holds_running_ones(api: Service, bucket: S3Server) -> None:
    job = api.submit(pdf(PAGES))
    until(lambda: api.job(job)["pages"]["done"] >= 3)
    held = bucket.take_away()
    refused = api.post("/v1/jobs", files={"file": ("document.pdf", pdf(1))})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
    assert "NoSuchBucket" in refused.json()["error"]["message"]
    assert int(refused.headers["retry-after"]) > 0
    until(lambda: "it is waited for" in api.log)
    bucket.make_bucket()  # empty, as a wrong one would be
    assert api.get("/health").status_code == 503
    assert api.job(job)["status"] == "running"
    bucket.give_back(held)
    assert api.wait(job)["status"] == "done"
    assert api.result(job).count(b"ends.") == PAGES
    assert api.get("/health").status_code == 200
