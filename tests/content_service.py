"""A stand-in for simple-content: it creates derived content, takes its upload, and fails as tests want.

Source of its shapes: tendant/simple-content-ocr, src/simple_ocr/adapters/content_client.py.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from jobs.simple_ocr.content import PATH


class ContentService:
    """Also serves documents by their paths."""

    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        self.uploads: dict[str, str] = {}
        self.documents: dict[str, bytes] = {}
        self.failing: list[int] = []  # statuses of the next answers to uploads
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == PATH
                body = json.loads(self._body())
                service.created.append(body)
                number = len(service.created)
                upload = f"{service.url}/upload/{number}?signature=secret"
                ids = {name: body[name] for name in ("content_id", "object_id")}
                self._answer(201, json.dumps({"derived_id": f"derived-{number}", "upload_url": upload, **ids}).encode())

            def do_PUT(self) -> None:
                body = self._body()
                if service.failing:
                    self._answer(service.failing.pop(0))
                    return
                service.uploads[self.path.partition("?")[0]] = body.decode()
                self._answer(200)

            def do_GET(self) -> None:
                document = service.documents.get(self.path.partition("?")[0])
                self._answer(404 if document is None else 200, document or b"")

            def _body(self) -> bytes:
                return self.rfile.read(int(self.headers["content-length"]))

            def _answer(self, status: int, body: bytes = b"") -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def document(self, name: str, data: bytes) -> str:
        """The address of a document, signed as such a service signs it."""
        self.documents[f"/{name}"] = data
        return f"{self.url}/{name}?signature=secret"


@contextmanager
def content_service() -> Iterator[ContentService]:
    service = ContentService()
    threading.Thread(target=service.server.serve_forever, daemon=True).start()
    yield service
    service.server.shutdown()
    service.server.server_close()
