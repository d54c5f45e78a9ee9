"""simple-content-ocr's API: a document in, its result out, with the upstream's fields, hints and errors."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from jobs.job import Job
from jobs.records import Filter
from tests.finished_jobs import fail, finish
from tests.http.test_jobs import Api, serving
from tests.keys import ALICE, BOB
from tests.ocr_service import until
from tests.page_server import report

PROCESS = "/api/v1/ocr/process"
ORDER = {
    "job_id": "order-7",
    "content_id": "c",
    "object_id": "o",
    "source_url": "https://example.org/a.pdf?signature=1",
    "mime_type": "application/pdf",
}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path) as api:
        yield api


def read_page(number: int, text: str) -> dict[str, Any]:
    """A page as the reader keeps it."""
    ocr = report(text, "document")["choices"][0]["ocr"]
    kept = {name: ocr["pages"][0][name] for name in ("width", "height", "angle", "error")}
    block = {name: value for name, value in ocr["blocks"][0].items() if name not in ("page", "text")}
    facts = {"layout": True, "confidence": 0.9, "mode": "document", "finish_reason": "stop"}
    return {"page": number, **kept, **facts, "fields": None, "checks": None, "blocks": [block]}


def waiting(api: Api, own_id: str = "order-7") -> Job:
    """The job, once a request has made it."""
    found: list[Job] = until(lambda: [job for job in known(api) if job.own_id == own_id and job.status == "queued"])
    return found[0]


def known(api: Api) -> list[Job]:
    return api.parts.queue.records.listed(Filter())


def processed(api: Api, end: Callable[[Job], Any], headers: dict[str, str] | None = None, **fields: Any) -> Any:
    """The answer to a request whose job `end` ends, as a worker would."""
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(api.client.post, PROCESS, json=ORDER | fields, headers=headers)
        end(waiting(api))
        return asked.result()


def done(api: Api) -> Callable[[Job], Any]:
    return lambda job: finish(api.parts, job.id, [read_page(1, "One."), read_page(2, "Two.")])


def refused(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["detail"]


def test_a_document_is_answered_with_its_markdown_and_the_upstreams_fields(api: Api) -> None:
    answer = processed(api, done(api), metadata={"case": "7"}, tenant_id="acme")
    result = answer.json()
    assert answer.status_code == 200
    assert (result["job_id"], result["status"], result["page_count"]) == ("order-7", "completed", 2)
    assert result["markdown_content"].split() == ["One.", "---", "Two."]
    assert result["error_message"] is None
    assert result["processing_time_ms"] >= 0
    assert result["completed_at"].endswith("Z")
    facts = {"content_id": "c", "object_id": "o", "engine": "vllm", "mime_type": "application/pdf", "page_count": "2"}
    assert facts.items() <= result["metadata"].items()
    assert {"model", "vllm_url"} <= set(result["metadata"])
    (job,) = known(api)
    assert job.metadata == {"case": "7"}


def test_a_document_that_cannot_be_read_is_answered_with_200_and_its_reason(api: Api) -> None:
    answer = processed(api, lambda job: fail(api.parts, job.id, "the PDF is torn", page=2))
    result = answer.json()
    assert (answer.status_code, result["status"], result["markdown_content"]) == (200, "failed", None)
    assert result["error_message"] == "page 2: the PDF is torn"
    assert result["metadata"]["error_type"] == "validation"


def test_a_request_that_repeats_its_job_id_gets_the_same_result_whatever_its_address(api: Api) -> None:
    first = processed(api, done(api)).json()
    again = api.client.post(PROCESS, json=ORDER | {"source_url": "https://example.org/a.pdf?signature=2"}).json()
    assert again == first
    assert len(known(api)) == 1


def test_the_same_job_id_for_another_document_is_a_conflict(api: Api) -> None:
    processed(api, done(api))
    status, said = refused(api.client.post(PROCESS, json=ORDER | {"content_id": "another"}))
    assert status == 409
    assert "'order-7' stands for another document" in said


def test_force_reads_a_document_again(api: Api) -> None:
    processed(api, lambda job: fail(api.parts, job.id, "the PDF is torn"))
    result = processed(api, done(api), hints={"force": "true"}).json()
    assert result["status"] == "completed"
    assert len(known(api)) == 1


def test_hints_give_a_job_its_priority_and_its_pages_their_time(api: Api) -> None:
    hints = {"priority": "low", "timeout_seconds": "30", "output_format": "markdown", "resolution": "1024"}
    processed(api, done(api), hints=hints)
    (job,) = known(api)
    assert (job.priority, job.options.payload["page_seconds"]) == ("low", 30)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"job_id": None}, "job_id"),
        ({"job_id": "a\0b"}, "job_id: the text holds a NUL"),
        ({"source_url": "file:///etc/passwd"}, "source_url: the URL does not start with http"),
        ({"mime_type": "application/msword"}, "mime_type: documents of this type cannot be read; PNG"),
        ({"pages": "1"}, "pages: Extra inputs are not permitted"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"hints": {"priority": "urgent"}}, "hints.priority must be high, normal, low"),
        ({"hints": {"force": "perhaps"}}, "hints.force must be true or false"),
        ({"hints": {"timeout_seconds": "soon"}}, "hints.timeout_seconds must be"),
        ({"hints": {"timeout_seconds": "601"}}, "hints.timeout_seconds is over JOBS_PAGE_SECONDS, 600"),
        ({"hints": {"output_format": "hocr"}}, "hints.output_format must be markdown"),
    ],
)
def test_what_is_wrong_with_a_request_is_named_as_fastapi_does(api: Api, fields: dict[str, Any], said: str) -> None:
    status, detail = refused(api.client.post(PROCESS, json=ORDER | fields))
    assert status == 422
    assert said in detail
    assert known(api) == []


def test_a_full_queue_is_429(tmp_path: Path) -> None:
    with serving(tmp_path, JOBS_MAX_WAITING="1") as api:
        api.submit()
        answer = api.client.post(PROCESS, json=ORDER)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
        assert "1 jobs wait" in answer.json()["detail"]


def test_job_ids_of_several_clients_do_not_meet(tmp_path: Path) -> None:
    with serving(tmp_path, API_KEYS=f"alice:{ALICE},bob:{BOB}") as api:
        for key in (ALICE, BOB):
            answer = processed(api, done(api), headers={"Authorization": f"Bearer {key}"})
            assert answer.json()["status"] == "completed"
        assert {job.owner for job in known(api)} == {"alice", "bob"}
        assert refused(api.client.post(PROCESS, json=ORDER))[0] == 401


def test_health_and_engines_have_the_upstreams_fields(api: Api) -> None:
    health = api.client.get("/api/v1/ocr/health").json()
    assert (health["status"], health["ocr_engine"]) == ("healthy", "vllm")
    assert {"service", "version"} <= set(health)
    root = api.client.get("/health").json()
    assert {name: root[name] for name in ("status", "service", "version")} == {
        name: health[name] for name in ("status", "service", "version")
    }
    engines = api.client.get("/api/v1/ocr/engines").json()
    assert engines["current_engine"] in engines["available_engines"]
    assert engines["engine_config"]["model_name"] == "PaddlePaddle/PaddleOCR-VL"
