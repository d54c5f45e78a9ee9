"""`paddleocr-vl ocr`: documents -> text, on the terminal or as files."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.documents import pages_in
from cli.errors import UsageError
from cli.formats import Format, Images, Written
from cli.output import Placed, placed
from cli.plan import Plan
from cli.sources import in_folder, sources
from cli.telling import errors_told
from cli.wishes import PROMPT, Wishes

SECONDS = 2.0  # between two looks at a folder that is watched
LAYOUT = {"auto": None, "on": True, "off": False}


def ocr(
    what: Annotated[list[str], typer.Argument(metavar="FILE|FOLDER|GLOB|URL|-", help="what is to be read")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="write files here, in a tree like the sources'")
    ] = None,
    format_: Annotated[Format, typer.Option("--format", "-f", help="pdf: the document with searchable text")] = "md",
    pages: Annotated[str | None, typer.Option(help="such as 1-3,7")] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="folders with all that is below them")] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="documents read at once")] = 4,
    mode: Annotated[
        str | None, typer.Option(help="such as document, table, receipt; by default what --prompt says")
    ] = None,
    layout: Annotated[Literal["auto", "on", "off"], typer.Option(help="on: block by block")] = "auto",
    schema: Annotated[
        Path | None, typer.Option(metavar="FILE", help="a JSON schema that is filled from the page")
    ] = None,
    images: Annotated[Images, typer.Option(help="figures: left out, in the text, or files beside it")] = "none",
    prompt: Annotated[str, typer.Option(help="what is asked of the server")] = PROMPT,
    watch: Annotated[bool, typer.Option(help="go on with what comes into the folders; end it with Ctrl-C")] = False,
) -> None:
    """Read images and documents with a running server: PDF, PNG, JPEG, WebP, TIFF, HEIC and others.

    With -o, a run that was stopped goes on where it was: documents whose content is done are not read again.
    Environment: VLLM_URL (default http://127.0.0.1:8001), VLLM_API_KEY, MODEL_NAME, OCR_ENGINE (vllm).
    """
    with errors_told("ocr"):
        wishes = Wishes(
            prompt=prompt,
            mode=mode or ("document" if format_ == "pdf" else None),
            layout=LAYOUT[layout],
            images=images != "none",
            schema=None if schema is None else _schema(schema),
            words=format_ == "json",
            raw=format_ == "pdf",
        )
        chosen = None if pages is None else pages_in(pages)
        if out is None and (format_ == "pdf" or images == "files" or watch):
            raise UsageError("--format pdf, --images files and --watch need -o DIR.")
        found = sources(what, recursive=recursive)
        plan = Plan(wishes=wishes, pages=chosen, form=Written(format_, images), jobs=jobs)
        from cli.running import run  # brings OpenAI's client, which takes a second

        code = run("ocr", plan, out, _watched(what, recursive) if watch else [placed(found)])
    raise typer.Exit(code)


def _schema(file: Path) -> dict[str, Any]:
    try:
        schema = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{file} is not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise UsageError(f"{file} is not a JSON schema, which is an object.")
    return schema


def _watched(what: Sequence[str], recursive: bool) -> Iterator[list[Placed]]:
    """What is there at first, then documents that are new or changed, once they have stopped growing."""
    folders = [Path(argument) for argument in what]
    if not all(folder.is_dir() for folder in folders):
        raise UsageError("--watch takes folders only.")
    done: dict[Path, tuple[float, int]] = {}
    before: dict[Path, tuple[float, int]] = {}
    while True:
        found = [source for folder in folders for source in in_folder(folder, recursive=recursive)]
        now: dict[Path, tuple[float, int]] = {}
        for source in found:
            assert source.path is not None
            state = source.path.stat()
            now[source.path] = state.st_mtime, state.st_size
        fresh = [
            (source, place)
            for source, place in placed(found)  # all of them: a new one must not take the place of an older one
            if source.path and before.get(source.path) == now[source.path] != done.get(source.path)
        ]
        if fresh:
            done |= {source.path: now[source.path] for source, _ in fresh if source.path}
            yield fresh
        before = now
        time.sleep(SECONDS)
