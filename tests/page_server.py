"""A process that stands for the model server: it reads each page in a fixed time, into a text that the page decides.

It reads some pages at once. It notes in FOLDER/log when a page is asked for and when it is answered, and answers with
what FOLDER/fault says, as a status and a body, while that is there, and with nothing while FOLDER/hold is there.
"""

import asyncio
import base64
import hashlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pypdfium2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.forks import Fork
from tests.free_port import free_port

SECONDS_TO_START = 60


@dataclass
class PageServer:
    """The process, from the side of a test."""

    folder: Path
    seconds: float
    slots: int = 1000
    port: int = 0
    process: Fork | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, again on the same port."""
        self.port = self.port or free_port()
        self.process = Fork(serve, self.port, self.folder, self.seconds, self.slots)
        end = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < end:
            try:
                httpx.get(f"{self.url}/health")
            except httpx.TransportError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError("the page server does not start")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(SECONDS_TO_START)

    def fault(self, status: int, message: str = "a fault", from_page: int = 0) -> None:
        """Answer with this status from now on, pages from this number."""
        part = self.folder / "fault.part"
        part.write_text(json.dumps({"status": status, "body": {"error": {"message": message}}, "from": from_page}))
        part.rename(self.folder / "fault")

    def hold(self) -> None:
        """Answer no page from now on."""
        (self.folder / "hold").touch()

    def mend(self) -> None:
        for fault in ("fault", "hold"):
            (self.folder / fault).unlink(missing_ok=True)

    def noted(self, what: str) -> Counter[str]:
        """How often each page was asked for (`asked`) or answered (`answered`), by the ids of the requests."""
        log = self.folder / "log"
        lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
        return Counter(page for event, page in lines if event == what)


def report(text: str, mode: str) -> dict[str, Any]:
    """An answer of the real server's shape: one block with a text."""
    raw = {"text": text, "read": True, "image": None, "figures": {}}
    block = {
        **{"page": 1, "order": 1, "label": "text", "box": [0, 0, 900, 100], "parts": None, "confidence": 0.9},
        **{"text": [0, len(text)], "cut": None, "error": None, "raw": raw},
    }
    page = {"page": 1, "width": 1000, "height": 1400, "angle": 0, "error": None}
    ocr = {"mode": mode, "layout": True, "confidence": 0.9, "pages": [page], "blocks": [block]}
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop", "ocr": ocr}]}


def _told_by(document: str) -> str:
    """What tells a page from others: its size, or an image's bytes."""
    data = base64.b64decode(document.partition(",")[2])
    if not data.startswith(b"%PDF-"):
        return hashlib.sha256(data).hexdigest()[:12]
    with pypdfium2.PdfDocument(data) as pdf:
        return "of {:g} x {:g}".format(*pdf.get_page_size(0))


def app(folder: Path, seconds: float, slots: int) -> Starlette:
    free = asyncio.Semaphore(slots)
    log = os.open(folder / "log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    async def read(request: Request) -> JSONResponse:
        page = request.headers.get("x-request-id", "none")
        os.write(log, f"asked {page}\n".encode())
        fault = folder / "fault"
        if fault.exists():
            said = json.loads(fault.read_text())
            if int(page.rpartition("-")[2]) >= said["from"]:
                return JSONResponse(said["body"], said["status"])
        body = await request.json()
        part = body["messages"][0]["content"][0]
        document = part["file"]["file_data"] if part["type"] == "file" else part["image_url"]["url"]
        async with free:
            await asyncio.sleep(seconds)
            while (folder / "hold").exists():
                await asyncio.sleep(0.05)
                if await request.is_disconnected():
                    return JSONResponse({})
        os.write(log, f"answered {page}\n".encode())
        return JSONResponse(report(f"The page {_told_by(document)} ends.", body.get("mode", "markdown")))

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({})

    return Starlette(routes=[Route("/v1/chat/completions", read, methods=["POST"]), Route("/health", health)])


@contextmanager
def page_server(folder: Path, seconds: float) -> Iterator[PageServer]:
    """A running one, which takes so many seconds for a page; `folder` need not exist."""
    folder.mkdir(exist_ok=True)
    server = PageServer(folder, seconds)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def serve(port: int, folder: Path, seconds: float, slots: int) -> None:
    uvicorn.run(app(folder, seconds, slots), port=port, log_level="error")
