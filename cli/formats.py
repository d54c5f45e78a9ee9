"""An answer -> the files of each format."""

import base64
import html
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from markdown_it import MarkdownIt

from cli.documents import Document
from cli.errors import UnreadableFileError
from cli.wishes import Answer
from exports.plain import plain_text
from exports.searchable.make import SearchableError, searchable_pdf
from exports.searchable.texts import pages_of

Format = Literal["md", "json", "txt", "html", "pdf"]
Images = Literal["none", "inline", "files"]

FIGURE = re.compile(r"data:image/(png|jpeg|webp);base64,([A-Za-z0-9+/=]+)")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # what is read on a page runs nothing
PAGE = """<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>body {{ max-width: 50rem; margin: 2rem auto; font-family: sans-serif }} td, th {{ border: 1px solid }}
table {{ border-collapse: collapse }} img {{ max-width: 100% }}</style>
</head>
<body>
{body}</body>
</html>
"""


@dataclass(frozen=True)
class Result:
    """A document that was read, with what was read."""

    document: Document
    answer: Answer


class Form(Protocol):
    """What becomes of a result."""

    @property
    def suffix(self) -> str:
        """Suffix of the file that is made of each document."""

    @property
    def streams(self) -> bool:
        """Whether its text is the answer's, piece by piece."""

    def files(self, result: Result, name: str) -> dict[str, bytes]:
        """Files by suffix, and others by their names; `name`: of the result, without a suffix."""

    def text(self, result: Result) -> str:
        """The whole result, for a terminal."""


@dataclass(frozen=True)
class Written:
    """A result in one of the formats."""

    format: Format
    images: Images

    @property
    def suffix(self) -> str:
        return f".{self.format}"

    @property
    def streams(self) -> bool:
        return self.format == "md"

    def files(self, result: Result, name: str) -> dict[str, bytes]:
        if self.format == "pdf":
            return {self.suffix: _searchable(result)}
        content = result.answer.content
        figures: dict[str, bytes] = {}
        if self.images == "files":
            content, figures = _apart(content, name)
        return {self.suffix: MAKERS[self.format](result, content).encode(), **figures}

    def text(self, result: Result) -> str:
        return MAKERS[self.format](result, result.answer.content)


def _searchable(result: Result) -> bytes:
    """Raises UnreadableFileError."""
    answer, count = result.answer, result.document.pages
    blocks = [
        {**block, "content": (block.get("raw") or {}).get("text", "")} for block in answer.ocr.get("blocks") or []
    ]
    facts = answer.ocr.get("pages") or [{"page": number} for number in range(1, count + 1)]
    if not blocks and count > 1:
        raise UnreadableFileError("its pages were read without blocks; --format pdf needs --mode document.")
    if not blocks:
        facts = [{**facts[0], "content": answer.content}]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.write_bytes(result.document.data)
        try:
            return searchable_pdf(source, list(pages_of(facts, blocks, answer.content)))
        except SearchableError as error:
            raise UnreadableFileError(str(error)) from error


def _apart(content: str, name: str) -> tuple[str, dict[str, bytes]]:
    """The text with links to its figures, and their files."""
    figures: dict[str, bytes] = {}

    def link(found: re.Match[str]) -> str:
        file = f"{name}.images/figure-{len(figures) + 1}.{found[1]}"
        figures[file] = base64.b64decode(found[2])
        return file.replace(" ", "%20")

    return FIGURE.sub(link, content), figures


def _markdown(_: Result, content: str) -> str:
    return content + "\n"


def _json(result: Result, content: str) -> str:
    body = {"name": result.document.name, "content": content, "ocr": result.answer.ocr}
    return json.dumps(body, ensure_ascii=False, indent=2) + "\n"


def _html(result: Result, content: str) -> str:
    return PAGE.format(policy=POLICY, title=html.escape(result.document.name), body=_rendered(content))


def _text(_: Result, content: str) -> str:
    return plain_text(content)


def _rendered(content: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(content))


MAKERS: dict[str, Callable[[Result, str], str]] = {"md": _markdown, "json": _json, "html": _html, "txt": _text}
