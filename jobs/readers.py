"""All ways of reading, by their names, and the default one."""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from jobs.document import Document
from jobs.failures import ours
from jobs.job import DOCUMENT, Job
from jobs.joining import joined
from jobs.kinds import media_type
from jobs.paddleocr.reader import LAYOUT_PARSING, LayoutParsingReader
from jobs.reading import PageFile, Reader
from jobs.servers import Servers

CHAT = "/v1/chat/completions"
BLOCK_FIELDS = ("order", "label", "box", "parts", "confidence", "cut", "error", "raw")


class ChatReader:
    """Reads pages by the server's chat: block by block in the mode `document`, otherwise an answer a page."""

    def __init__(self, model: str) -> None:
        self._model = model

    async def ask(self, servers: Servers, job: Job, page: PageFile, headers: Mapping[str, str]) -> dict[str, Any]:
        body = json.dumps(self._request(job, page)).encode()
        seconds = job.options.payload.get("page_seconds")
        answer = await servers.ask(CHAT, body, headers, job.rank, seconds)
        try:
            choice = answer["choices"][0]
            return _page(page.number, choice["message"]["content"], choice["finish_reason"], choice["ocr"])
        except (LookupError, TypeError) as error:
            message = f"the answer of {CHAT} lacks {error}; VLLM_URL must name this project's server"
            raise ours("server_answer", message) from error

    def join(self, job: Job, pages: Iterable[dict[str, Any]]) -> Document:
        return joined(pages, job.options)

    def _request(self, job: Job, page: PageFile) -> dict[str, Any]:
        kind = media_type(page.data)
        uri = f"data:{kind};base64,{base64.b64encode(page.data).decode()}"
        part = (
            {"type": "file", "file": {"filename": "page.pdf", "file_data": uri}}
            if kind == "application/pdf"
            else {"type": "image_url", "image_url": {"url": uri}}
        )
        options = job.options
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": [part]}],
            "mode": options.mode,
            "ocr": {"raw": options.mode == DOCUMENT},
        }
        if options.mode in (DOCUMENT, "table") and options.table_format != "auto":
            body["table_format"] = options.table_format
        if options.mode == DOCUMENT:
            if options.layout is not None:
                body["layout"] = options.layout
            body |= {"images": "none" if options.images == "none" else "inline", "running": options.running}
            body |= {name: True for name in ("upright", "unwarp") if getattr(options, name)}
        return body


def _page(number: int, content: str, finish_reason: str, report: dict[str, Any]) -> dict[str, Any]:
    found = (report.get("pages") or [{}])[0]
    page = {
        "page": number,
        "mode": report["mode"],
        "layout": report["layout"],
        "confidence": report["confidence"],
        "finish_reason": finish_reason,
        "width": found.get("width"),
        "height": found.get("height"),
        "angle": found.get("angle"),
        "error": found.get("error"),
        "fields": report.get("fields"),
        "checks": report.get("checks"),
    }
    blocks = report.get("blocks")
    if blocks is None:
        return page | {"content": content, "blocks": None}
    return page | {"blocks": [{name: block[name] for name in BLOCK_FIELDS} for block in blocks]}


def readers(model: str) -> dict[str, Reader]:
    """All readers, by the name that a job has."""
    return {"chat": ChatReader(model), LAYOUT_PARSING: LayoutParsingReader()}
