"""The OCR API: what POST /v1/jobs takes and refuses, and what may be asked of jobs. No worker runs."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from jobs.formats import result_name
from jobs.main import Parts, ocr_app
from jobs.settings import load_job_settings
from jobs.steps import page_name
from tests.keys import ALICE, BOB
from tests.ocr_service import pdf

FILE = {"file": ("scan.pdf", pdf(1))}


class Api:
    def __init__(self, client: TestClient, parts: Parts) -> None:
        self.client, self.parts = client, parts

    def submit(self, **fields: Any) -> httpx2.Response:
        return self.client.post("/v1/jobs", files=FILE, data=fields)

    def error(self, answer: httpx2.Response) -> tuple[int, str | None, str]:
        error = answer.json()["error"]
        return answer.status_code, error["param"], error["message"]


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[Api]:
    parts = Parts(load_job_settings({"JOBS_FOLDER": str(folder), **environment}))
    with TestClient(ocr_app(parts, None)) as client:
        yield Api(client, parts)
    parts.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path, JOBS_WEBHOOK_SECRET="0123456789abcdef") as api:
        yield api


def test_a_file_is_a_job_that_waits(api: Api) -> None:
    answer = api.submit(priority="high", formats="text,markdown", metadata='{"case": "7"}', layout="true")
    job = answer.json()
    assert (answer.status_code, job["status"], answer.headers["location"]) == (202, "queued", f"/v1/jobs/{job['id']}")
    assert job["source"] == {"url": None, "name": "scan.pdf", "bytes": len(FILE["file"][1])}
    assert (job["options"]["formats"], job["options"]["layout"]) == (["text", "markdown"], True)
    assert (job["priority"], job["metadata"], job["results"]) == ("high", {"case": "7"}, {})
    known = api.client.get(f"/v1/jobs/{job['id']}").json()
    assert known == job | {"ahead": 0}


def test_several_documents_are_a_batch(api: Api) -> None:
    answer = api.client.post("/v1/jobs", json={"url": ["https://example.org/a.pdf", "https://example.org/b.pdf"]})
    batch = answer.json()
    assert (answer.status_code, len(batch["data"])) == (202, 2)
    listed = api.client.get("/v1/jobs", params={"batch": batch["batch"]}).json()
    assert {job["id"] for job in listed["data"]} == {job["id"] for job in batch["data"]}


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({}, "url", "there is no document"),
        ({"url": "ftp://example.org/a.pdf"}, "url.0", "does not start with http"),
        ({"url": "https://example.org", "mod": "table"}, "mod", "not permitted"),
        ({"url": "https://example.org", "mode": "raw"}, "mode", "raw"),
        ({"url": "https://example.org", "formats": ["docx"]}, "formats", "markdown, json, text, zip, pdf are"),
        ({"url": "https://example.org", "formats": []}, "formats", "at least 1"),
        ({"url": "https://example.org", "pages": "3-1"}, "pages", "such as 1-3,7"),
        ({"url": "https://example.org", "priority": "urgent"}, "priority", "'high', 'normal' or 'low'"),
        ({"url": "https://example.org", "webhook": "javascript:x"}, "webhook", "does not start with http"),
        ({"url": "https://example.org", "payload": {}}, None, "payload is not known here"),
        ({"url": ["https://a.org", "https://b.org"], "id": "x"}, "id", "stands for one document"),
        ({"url": "https://example.org", "metadata": {"a": 1}}, "metadata.a", "string"),
        ([], None, "must be a JSON object"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(api: Api, body: Any, param: str | None, said: str) -> None:
    status, named, message = api.error(api.client.post("/v1/jobs", json=body))
    assert (status, named) == (400, param)
    assert said in message


def test_other_bodies_are_refused(api: Api) -> None:
    status, _, message = api.error(api.client.post("/v1/jobs", content=b"x", headers={"Content-Type": "text/plain"}))
    assert (status, "send application/json with url" in message) == (400, True)
    status, param, message = api.error(api.client.post("/v1/jobs", files={"file": ("a.docx", b"PK\3\4")}))
    assert (status, param) == (400, "file")
    assert re.fullmatch("'a.docx' is not a document in a supported format: PNG, JPEG, .*PDF", message)
    both = [("file", ("a.pdf", pdf(1))), ("file", ("b.txt", b"text"))]
    assert api.client.post("/v1/jobs", files=both).status_code == 400
    assert api.parts.store.names() == []
    status, param, _ = api.error(api.submit(layout="perhaps"))
    assert (status, param) == (400, "layout")


def test_too_much_is_413(tmp_path: Path) -> None:
    with serving(tmp_path, JOBS_MAX_BYTES="100") as api:
        assert api.submit().status_code == 413


def test_a_full_queue_is_429_with_a_time_and_keeps_no_document(tmp_path: Path) -> None:
    with serving(tmp_path, JOBS_MAX_WAITING="1") as api:
        api.submit()
        answer = api.submit()
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
        assert int(answer.headers["retry-after"]) > 0
        assert len(api.parts.store.names()) == 1


def test_webhooks_need_a_secret(tmp_path: Path) -> None:
    with serving(tmp_path) as api:
        status, param, message = api.error(api.submit(webhook="https://example.org/hook"))
        assert (status, param, "JOBS_WEBHOOK_SECRET" in message) == (400, "webhook", True)


def test_an_idempotency_key_is_the_clients_own_id(api: Api) -> None:
    first = api.client.post("/v1/jobs", files=FILE, headers={"Idempotency-Key": "k1"})
    again = api.client.post("/v1/jobs", files=FILE, headers={"Idempotency-Key": "k1"})
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]
    assert [job["own_id"] for job in api.client.get("/v1/jobs", params={"id": "k1"}).json()["data"]] == ["k1"]
    other = api.client.post("/v1/jobs", files={"file": ("b.pdf", pdf(2))}, headers={"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "id_taken")


def test_a_list_goes_on_after_its_last_job(api: Api) -> None:
    submitted = [api.submit().json()["id"] for _ in range(5)]
    first = api.client.get("/v1/jobs", params={"limit": 3}).json()
    rest = api.client.get("/v1/jobs", params={"limit": 3, "after": first["last_id"]}).json()
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert [job["id"] for job in first["data"] + rest["data"]] == submitted[::-1]
    api.client.post(f"/v1/jobs/{submitted[0]}/cancel")
    cancelled = api.client.get("/v1/jobs", params={"status": ["cancelled", "failed"]}).json()["data"]
    assert [job["id"] for job in cancelled] == [submitted[0]]
    assert api.client.get("/v1/jobs", params={"status": "sleeping"}).status_code == 400


def test_a_result_before_its_time_says_why_it_is_not_there(api: Api) -> None:
    job = api.submit().json()["id"]
    answer = api.client.get(f"/v1/jobs/{job}/result")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_done")
    status, param, message = api.error(api.client.get(f"/v1/jobs/{job}/result", params={"format": "text"}))
    assert (status, param, message) == (400, "format", "format: the job has markdown, json, got 'text'")


def test_results_and_pages_are_served_from_the_store(api: Api) -> None:
    job = api.submit().json()["id"]
    block: dict[str, Any] = {
        **{"order": 1, "label": "text", "box": [0, 0, 9, 9], "parts": None, "confidence": 1.0, "cut": None},
        **{"error": None, "raw": {"text": "Hello.", "read": True, "image": None, "figures": {}}},
    }
    page = {
        **{"page": 1, "mode": "document", "layout": True, "confidence": 1.0, "finish_reason": "stop", "width": 9},
        **{"height": 9, "angle": 0, "error": None, "fields": None, "checks": None, "blocks": [block]},
    }
    api.parts.store.put(page_name(job, 1), json.dumps(page).encode())
    assert api.client.get(f"/v1/jobs/{job}/pages/1").json()["markdown"] == "Hello."
    api.parts.store.put(result_name(job, "markdown"), b"Hello.")
    api.parts.queue.records.end(job, 1, "done")
    answer = api.client.get(f"/v1/jobs/{job}/result")
    assert (answer.text, answer.headers["content-type"]) == ("Hello.", "text/markdown; charset=utf-8")
    assert answer.headers["content-disposition"] == "inline; filename*=UTF-8''scan.md"
    assert api.client.get(f"/v1/jobs/{job}").json()["results"]["markdown"] == f"/v1/jobs/{job}/result?format=markdown"


def test_events_end_with_the_job(api: Api) -> None:
    job = api.submit().json()["id"]
    api.client.post(f"/v1/jobs/{job}/cancel")
    answer = api.client.get(f"/v1/jobs/{job}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.startswith("event: cancelled\ndata: {")


def test_only_failed_and_cancelled_jobs_are_retried(api: Api) -> None:
    job = api.submit().json()["id"]
    assert api.client.post(f"/v1/jobs/{job}/retry").status_code == 409
    api.client.post(f"/v1/jobs/{job}/cancel")
    again = api.client.post(f"/v1/jobs/{job}/retry")
    assert (again.status_code, again.json()["status"], again.json()["run"]) == (202, "queued", 2)


def test_a_removed_job_is_gone_with_its_document(api: Api) -> None:
    job = api.submit().json()["id"]
    assert api.client.delete(f"/v1/jobs/{job}").status_code == 204
    assert api.client.get(f"/v1/jobs/{job}").status_code == 404
    assert api.parts.store.names() == []


def test_with_keys_each_client_sees_its_own_jobs_only(tmp_path: Path) -> None:
    with serving(tmp_path, API_KEYS=f"alice:{ALICE},bob:{BOB}") as api:
        alice, bob = ({"Authorization": f"Bearer {key}"} for key in (ALICE, BOB))
        assert api.submit().status_code == 401
        job = api.client.post("/v1/jobs", files=FILE, headers=alice).json()["id"]
        assert api.client.get(f"/v1/jobs/{job}", headers=alice).status_code == 200
        for path in (f"/v1/jobs/{job}", f"/v1/jobs/{job}/result", f"/v1/jobs/{job}/pages/1", f"/v1/jobs/{job}/events"):
            assert api.client.get(path, headers=bob).status_code == 404
        for path in (f"/v1/jobs/{job}/cancel", f"/v1/jobs/{job}/retry"):
            assert api.client.post(path, headers=bob).status_code == 404
        assert api.client.delete(f"/v1/jobs/{job}", headers=bob).status_code == 404
        assert api.client.get("/v1/jobs", headers=bob).json()["data"] == []
        assert api.client.get("/health").json().keys() == {"status", "version", "service"}
        assert api.client.get("/metrics").status_code == 401


def test_metrics_tell_what_waits(api: Api) -> None:
    api.submit()
    text = api.client.get("/metrics").text
    assert 'jobs_active{status="queued"} 1.0' in text
    assert 'jobs_active_pages{status="queued"} 1.0' in text
    assert "jobs_submitted_total 1.0" in text
    assert 'jobs_ended_total{kind="ours",status="failed"} 0.0' in text


def test_the_page_needs_no_key_and_can_be_turned_off(tmp_path: Path) -> None:
    with serving(tmp_path, API_KEYS=f"alice:{ALICE}") as api:
        assert "ui/jobs.js" in api.client.get("/").text
        assert api.client.get("/ui/jobs.js").status_code == 200
        assert api.client.get("/v1/jobs").status_code == 401
    with serving(tmp_path, UI="0") as api:
        assert (api.client.get("/").status_code, api.client.get("/ui/jobs.js").status_code) == (404, 404)


def test_unknown_paths_name_known_ones(api: Api) -> None:
    status, _, message = api.error(api.client.get("/nope"))
    assert (status, "POST /v1/jobs" in message) == (404, True)
    assert api.client.put("/v1/jobs").status_code == 405
