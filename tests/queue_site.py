"""What serves the queue of simple-content-ocr in tests: a nats-server, documents, and a server that reads slowly."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.file_server import Server, file_server
from tests.nats_server import NatsServer, nats_server
from tests.ocr_service import Service, pdf, running, until
from tests.page_server import PageServer, page_server

READING = 0.15  # seconds for a page
ACK_WAIT = 2  # seconds, less than a document takes
PAGES = 20  # in a document


@dataclass
class QueueSite:
    folder: Path
    queue: NatsServer
    files: Server
    pages: PageServer

    @contextmanager
    def served(self, *, wait: bool = True, **settings: str) -> Iterator[Service]:
        """An OCR API with a worker in it, by default once it takes messages of every priority."""
        own = {
            "VLLM_URL": self.pages.url,
            "JOBS_PAGES": "1",
            "ALLOWED_HOSTS": "127.0.0.1",
            "NATS_URL": self.queue.url,
            "NATS_ACK_WAIT": str(ACK_WAIT),
        }
        with running(self.folder / "ocr", **own | settings) as service:
            if wait:
                until(lambda: service.log.count("are taken from the queue") == 3)
            yield service

    def order(self, name: str, pages: int = 2, **more: Any) -> dict[str, Any]:
        """A job for a document that is there by then."""
        document = pdf(pages, seed=len(self.files.answers))
        self.files.answers[f"/{name}"] = lambda handler: handler.answer(body=document)
        fields = {"job_id": name, "content_id": f"content of {name}", "object_id": "o", "mime_type": "application/pdf"}
        return fields | {"source_url": self.files.url(f"/{name}?signed=1"), "tenant_id": "acme"} | more

    def asked(self, api: Service, name: str) -> dict[str, int]:
        """How often each page of a job was asked for."""
        (job,) = api.get("/v1/jobs", params={"id": name}).json()["data"]
        return {page: count for page, count in self.pages.noted("asked").items() if page.startswith(job["id"])}


@contextmanager
def queue_site(folder: Path, max_payload: int = 2**20) -> Iterator[QueueSite]:
    with (
        page_server(folder / "pages", READING) as pages,
        nats_server(folder / "nats", max_payload) as queue,
        file_server() as files,
    ):
        yield QueueSite(folder, queue, files, pages)
