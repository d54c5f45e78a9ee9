"""Formats of a result. A further one is a line in FORMATS."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

from exports.plain import plain_text
from jobs.document import Document
from jobs.job import Job
from jobs.searchable import searchable
from jobs.store import Store

Make = Callable[[Job, Document, Store], bytes]


@dataclass(frozen=True)
class Format:
    """What is made of a document, as one file."""

    suffix: str
    media_type: str
    make: Make
    offered: bool = True  # whether POST /v1/jobs takes it; otherwise a way of reading has it for itself


def _markdown(_job: Job, document: Document, _store: Store) -> bytes:
    return document.markdown.encode()


def _json(job: Job, document: Document, _store: Store) -> bytes:
    result = {
        "object": "job.result",
        "job": job.id,
        "mode": document.mode,
        "markdown": document.markdown,
        "pages": document.pages,
        "blocks": document.blocks,
        "images": sorted(document.images),
    }
    return json.dumps(result, ensure_ascii=False).encode()


def _text(_job: Job, document: Document, _store: Store) -> bytes:
    return plain_text(document.markdown).encode()


def _jsonl(_job: Job, document: Document, _store: Store) -> bytes:
    """A line a page, each as the reader made it."""
    return b"".join(json.dumps(page, ensure_ascii=False).encode() + b"\n" for page in document.pages)


def _zip(_job: Job, document: Document, _store: Store) -> bytes:
    """The Markdown beside the images that it links to. The same document gives the same bytes."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in {"document.md": document.markdown.encode(), **document.images}.items():
            how = zipfile.ZIP_STORED if name in document.images else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name), content, how)
    return data.getvalue()


FORMATS = {
    "markdown": Format("md", "text/markdown; charset=utf-8", _markdown),
    "json": Format("json", "application/json", _json),
    "text": Format("txt", "text/plain; charset=utf-8", _text),
    "jsonl": Format("jsonl", "application/jsonl", _jsonl, offered=False),
    "zip": Format("zip", "application/zip", _zip),
    "pdf": Format("pdf", "application/pdf", searchable),
}


def result_name(job: str, wanted: str) -> str:
    """Name of a result in the store."""
    return f"{job}/result/document.{FORMATS[wanted].suffix}"


def image_name(job: str, name: str) -> str:
    """Name in the store of an image that the Markdown links to."""
    return f"{job}/result/images/{name}"
