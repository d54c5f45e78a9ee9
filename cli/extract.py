"""`paddleocr-vl extract`: a schema filled from documents, or from their text."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.documents import pages_in
from cli.errors import UnreadableFileError, UsageError
from cli.filling import blocks as blocks_of
from cli.filling import extracted, text_of
from cli.filling import schema as schema_of
from cli.formats import Result
from cli.output import placed
from cli.plan import Plan
from cli.sources import STDIN, sources
from cli.telling import errors_told
from cli.wishes import Wishes

Doubtful = Literal["keep", "null"]


def extract(
    what: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE|FOLDER|GLOB|URL]", help="documents that a server reads")
    ] = None,
    *,
    schema: Annotated[
        str,
        typer.Option(metavar="receipt|invoice|form|FILE.json", help="what is filled; a file has a schema or example"),
    ],
    transcript: Annotated[
        str | None, typer.Option(metavar="FILE", help="a page's text instead, without a server; - is standard input")
    ] = None,
    blocks: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="or its texts with their boxes, as the mode spotting gives them"),
    ] = None,
    doubtful: Annotated[Doubtful, typer.Option(help="what becomes of doubtful values")] = "keep",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="write a JSON file for each document here")
    ] = None,
    pages: Annotated[str | None, typer.Option(help="such as 1-3,7")] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="folders with all that is below them")] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="documents read at once")] = 4,
) -> None:
    """Fill a schema from documents, with the server that VLLM_URL names; or from text, without one.

    Prints {"object": ..., "fields": ..., "checks": ...}. With -o, a run that was stopped goes on where it was.
    """
    with errors_told("extract"):
        shape, node = schema_of(schema)
        if not what:
            if out is not None or pages is not None:
                raise UsageError("-o and --pages are for documents, and none is given.")
            print(_json(extracted(node, _text(transcript, blocks), doubtful_as_null=doubtful == "null")))  # noqa: T201
            return
        if transcript is not None or blocks is not None:
            raise UsageError("--transcript and --blocks stand for documents; give either.")
        own = None if schema in ("receipt", "invoice", "form") else shape
        wishes = Wishes(mode=None if own else schema, schema=own, doubtful=doubtful)
        chosen = None if pages is None else pages_in(pages)
        plan = Plan(wishes=wishes, pages=chosen, form=Filled(), jobs=jobs)
        found = placed(sources(what, recursive=recursive))
        from cli.running import run  # brings OpenAI's client, which takes a second

        code = run("extract", plan, out, [found])
    raise typer.Exit(code)


@dataclass(frozen=True)
class Filled:
    """A result as the object that was filled, with what is known of its values."""

    suffix: str = ".json"
    streams: bool = False

    def files(self, result: Result, name: str) -> dict[str, bytes]:  # noqa: ARG002 - a form's
        return {self.suffix: self.text(result).encode()}

    def text(self, result: Result) -> str:
        """Raises UnreadableFileError."""
        answer = result.answer
        try:
            filled = json.loads(answer.content)
        except ValueError:
            raise UnreadableFileError(f"the server filled no schema: {answer.content:.80}") from None
        return _json({"object": filled, "fields": answer.ocr.get("fields"), "checks": answer.ocr.get("checks")}) + "\n"


def _json(found: object) -> str:
    return json.dumps(found, ensure_ascii=False, indent=2)


def _text(transcript: str | None, blocks: Path | None) -> str:
    """The text of a page, from what is given of it. Raises UsageError, OSError."""
    if transcript is not None and blocks is not None:
        raise UsageError("--transcript and --blocks are both the page; give one of them.")
    if blocks is not None:
        return blocks_of(blocks)
    if transcript in (None, STDIN):
        if transcript is None and sys.stdin.isatty():
            raise UsageError("give documents, --transcript FILE or --blocks FILE.json.")
        return sys.stdin.read()
    return text_of(Path(str(transcript)))
