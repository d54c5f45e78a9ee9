"""Documents of simple-content through its OCR API and its queue, with a real server, NATS, PostgreSQL and a
collector of traces."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from rapidfuzz.fuzz import ratio

from tests.content_service import ContentService, content_service
from tests.e2e.collector import Collector
from tests.e2e.sample import IMAGE, TEXT
from tests.e2e.servers import HANG_SECONDS, Server
from tests.keys import ALICE
from tests.nats_server import NatsServer, nats_server
from tests.ocr_service import Service, running, until
from tests.postgres import Postgres

PROCESS = "/api/v1/ocr/process"
READ = "POST /v1/chat/completions"  # the server's span of a page
NEARLY = 90  # least share of the text that is right, in per cent: the embedded checkpoint is small


@pytest.fixture(scope="module")
def content() -> Iterator[ContentService]:
    with content_service() as service:
        yield service


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="module")
def api(
    keyed: Server,
    collector: Collector,
    content: ContentService,
    queue: NatsServer,
    database: Postgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    """The OCR API with a worker in it, which has all that it can have."""
    settings = {
        "VLLM_URL": keyed.url,
        "JOBS_DATABASE_URL": database.database(),
        "VLLM_API_KEY": ALICE,
        "ALLOWED_HOSTS": "127.0.0.1",
        "CONTENT_API_URL": f"{content.url}/",
        "NATS_URL": queue.url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
        "OTEL_BSP_SCHEDULE_DELAY": "100",  # milliseconds
    }
    with running(tmp_path_factory.mktemp("ocr"), **settings) as service:
        until(lambda: service.log.count("are taken from the queue") == 3)
        yield service


def order(content: ContentService, job: str, pages: int = 1) -> dict[str, Any]:
    """A request for a document that the content service has."""
    page = Image.open(IMAGE).convert("RGB")
    file = io.BytesIO()
    page.save(file, "PDF", save_all=True, append_images=[page] * (pages - 1), resolution=144)
    address = content.document(f"{job}.pdf", file.getvalue())
    ids = {"content_id": f"content of {job}", "object_id": "o", "tenant_id": "acme"}
    return {"job_id": job, "source_url": address, "mime_type": "application/pdf", "metadata": {"case": "7"}, **ids}


def assert_read(markdown: str) -> None:
    assert ratio(" ".join(markdown.split()), " ".join(TEXT.split())) >= NEARLY, markdown


def test_a_document_is_read_in_one_request_and_its_markdown_becomes_derived_content(
    api: Service, content: ContentService
) -> None:
    content.failing = [503]  # the first upload
    result = api.post(PROCESS, json=order(content, "letter")).json()
    assert result["status"] == "completed", result
    assert_read(result["markdown_content"])
    (derived,) = [one for one in content.created if one["content_id"] == "content of letter"]
    number = content.created.index(derived) + 1
    assert result["metadata"]["derived_id"] == f"derived-{number}"
    assert content.uploads[f"/upload/{number}"] == result["markdown_content"]
    assert (derived["derived_type"], derived["mime_type"], derived["tenant_id"]) == (
        "ocr_markdown",
        "text/markdown",
        "acme",
    )
    assert {"job_id": "letter", "case": "7", "page_count": "1"}.items() <= derived["metadata"].items()
    assert 'jobs_deliveries_total{kind="content",outcome="delivered"} 1.0' in api.get("/metrics").text


def test_a_document_whose_markdown_is_refused_fails_with_its_markdown_and_the_reason(
    api: Service, content: ContentService
) -> None:
    content.failing = [403]
    result = api.post(PROCESS, json=order(content, "forbidden")).json()
    assert result["status"] == "failed"
    assert result["error_message"].endswith("answered 403")
    assert "secret" not in result["error_message"]
    assert result["metadata"]["error_type"] == "permanent"
    assert_read(result["markdown_content"])


def test_a_job_of_the_queue_is_completed_once_its_derived_content_is_there(
    api: Service, content: ContentService, queue: NatsServer
) -> None:
    queue.publish(order(content, "queued"))
    (completed,) = queue.wait_for("ocr.job.completed", job="queued")
    assert_read(completed["data"]["markdown_content"])
    derived = completed["data"]["metadata"]["derived_id"]
    assert content.uploads[f"/upload/{derived.removeprefix('derived-')}"] == completed["data"]["markdown_content"]
    assert api.get("/v1/jobs", params={"id": "queued"}).json()["data"][0]["status"] == "done"


def test_a_trace_reaches_from_the_clients_over_the_job_and_its_pages_to_the_servers_phases(
    api: Service, content: ContentService, collector: Collector
) -> None:
    trace, client = f"{4711:032x}", f"{11:016x}"
    headers = {"traceparent": f"00-{trace}-{client}-01"}
    assert api.post(PROCESS, json=order(content, "traced", pages=2), headers=headers).json()["status"] == "completed"
    spans: list[Any] = []

    def named(name: str) -> list[Any]:
        return [span for span in spans if span.name == name]

    while len(named("job")) + len(named(f"POST {PROCESS}")) + len(named(READ)) < 4:  # they come from two processes
        span = collector.spans.get(timeout=HANG_SECONDS)
        if span.trace_id.hex() == trace:
            spans.append(span)
    (request,), (job,), pages, reads = named(f"POST {PROCESS}"), named("job"), named("page"), named(READ)
    assert request.parent_span_id.hex() == client
    assert job.parent_span_id == request.span_id
    assert {page.parent_span_id for page in pages} == {job.span_id}
    assert {read.parent_span_id for read in reads} == {page.span_id for page in pages}
    phases = {span.name for span in spans if span.parent_span_id in {read.span_id for read in reads}}
    assert {"prefill", "decode"} <= phases
