"""NULs and halves of surrogate pairs, which no database keeps: the OCR API refuses them, whatever its database."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.http.test_jobs import Api, serving
from tests.ocr_service import pdf
from tests.postgres import Postgres

NUL, HALF = "a\0b", "a\ud800b"
SAID = {NUL: "holds a NUL", HALF: "half of a surrogate pair"}
URL = "https://example.org/a.pdf"
JOBS = {"url": URL}
PADDLEOCR = {"fileUrl": URL, "model": "PaddleOCR-VL"}
ORDER = {"job_id": "1", "content_id": "c", "object_id": "o", "source_url": URL, "mime_type": "application/pdf"}
FIELDS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    *(("/v1/jobs", JOBS, {name: "?"}) for name in ("id", "batch")),
    *(("/v1/jobs", JOBS, {"metadata": held}) for held in ({"case": "?"}, {"?": "7"})),
    *(("/api/v2/ocr/jobs", PADDLEOCR, {name: "PaddleOCR-VL?"}) for name in ("model", "batchId")),
    ("/api/v2/ocr/jobs", PADDLEOCR, {"optionalPayload": {"markdownIgnoreLabels": ["?"]}}),
    ("/api/v2/ocr/jobs", PADDLEOCR, {"optionalPayload": {"layoutThreshold": {"?": 0.5}}}),
    *(("/api/v1/ocr/process", ORDER, {name: "?"}) for name in ("job_id", "content_id", "owner_id", "tenant_id")),
    *(("/api/v1/ocr/process", ORDER, {"metadata": held}) for held in ({"case": "?"}, {"?": "7"})),
]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder, settings = tmp_path_factory.mktemp("ocr"), {"JOBS_WEBHOOK_SECRET": "0123456789abcdef"}
    if request.param == "sqlite":
        with serving(folder, **settings) as api:
            yield api
        return
    database: Postgres = request.getfixturevalue("database")
    with serving(folder, JOBS_DATABASE_URL=database.database(), **settings) as api:
        yield api


@pytest.fixture(autouse=True)
def _nothing_is_kept(api: Api) -> Iterator[None]:
    yield
    assert api.client.get("/v1/jobs").json()["data"] == []
    assert api.parts.store.names() == []


def message(answer: httpx2.Response) -> str:
    body = answer.json()
    return str(body.get("msg") or body.get("detail") or body["error"]["message"])


@pytest.mark.parametrize("text", [NUL, HALF], ids=["NUL", "half"])
@pytest.mark.parametrize(("path", "body", "fields"), FIELDS, ids=lambda value: json.dumps(value)[:60])
def test_a_field_is_refused_by_name(
    api: Api, path: str, body: dict[str, Any], fields: dict[str, Any], text: str
) -> None:
    content = json.dumps(body | fields).replace("?", json.dumps(text)[1:-1])
    answer = api.client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert message(answer).startswith(next(iter(fields)))
    assert SAID[text] in message(answer)


@pytest.mark.parametrize("path", ["/v1/jobs", "/api/v2/ocr/jobs"])
def test_the_name_of_a_file_is_refused(api: Api, path: str) -> None:
    part = b"--X\r\nContent-Disposition: form-data; "
    form = part + b'name="file"; filename="a\0b.pdf"\r\n\r\n' + pdf(1) + b"\r\n"
    if path != "/v1/jobs":
        form += part + b'name="model"\r\n\r\nPaddleOCR-VL\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=X"}
    answer = api.client.post(path, content=form + b"--X--\r\n", headers=headers)
    assert (answer.status_code, message(answer)) == (400, r"the name of the file holds a NUL: 'a\x00b.pdf'")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", f"/v1/jobs{rest}") for rest in ("/%00", "/%00/result", "/%00/events", "/x/images/%00", "?batch=%00")),
        *(("GET", f"/v1/jobs?{name}=%00") for name in ("id", "after")),
        *(("POST", f"/v1/jobs/%00/{what}") for what in ("cancel", "retry")),
        ("DELETE", "/v1/jobs/%00"),
        *(("GET", f"/api/v2/ocr/{rest}") for rest in ("jobs/%00", "jobs/batch/%00", "results/%00/result.jsonl")),
    ],
)
def test_an_address_is_refused(api: Api, method: str, path: str) -> None:
    answer = api.client.request(method, path)
    assert (answer.status_code, message(answer)) == (400, "the address holds a NUL (%00)")


@pytest.mark.parametrize("path", ["/v1/jobs", "/api/v2/ocr/jobs"])
@pytest.mark.parametrize(("key", "said"), [("a\0b", "holds a NUL"), ("x" * 201, "at most 200"), ("", "at least 1")])
def test_an_idempotency_key_is_refused(api: Api, path: str, key: str, said: str) -> None:
    body = JOBS if path == "/v1/jobs" else PADDLEOCR
    answer = api.client.post(path, json=body, headers={"Idempotency-Key": key})
    assert (answer.status_code, message(answer).startswith("Idempotency-Key: ")) == (400, True)
    assert said in message(answer)
