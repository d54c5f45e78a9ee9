"""`paddleocr-vl jobs`: documents left at the OCR API, and fetched when they are read."""

import json
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.bar import Bar
from cli.documents import Document, opened
from cli.errors import NoServerError, RefusedError, UnreadableFileError, UsageError
from cli.job_api import DEFAULT_URL, Job, JobApi
from cli.output import whole
from cli.sources import Source, sources
from cli.telling import ERROR, errors_told, say

jobs = typer.Typer(no_args_is_help=True, help="Leave documents at the OCR API, and fetch what was read.")

Format = StrEnum("Format", "markdown json text zip pdf")  # lists of a Literal are nothing to typer
Status = StrEnum("Status", "queued running done failed cancelled")
LAYOUT: dict[str, dict[str, str]] = {"auto": {}, "on": {"layout": "true"}, "off": {"layout": "false"}}
BINARY = (".zip", ".pdf")

Id = Annotated[str, typer.Argument(metavar="ID", help="of a job")]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="of jobs")]


@jobs.callback()
def connect(
    context: typer.Context,
    url: Annotated[str, typer.Option(envvar="OCR_API_URL", help="address of the OCR API")] = DEFAULT_URL,
) -> None:
    """Leave documents at the OCR API, and fetch what was read. Environment: OCR_API_URL, OCR_API_KEY."""
    with errors_told("jobs"):
        context.obj = JobApi(url)
    context.call_on_close(context.obj.close)


@jobs.command()
def submit(
    context: typer.Context,
    what: Annotated[list[str], typer.Argument(metavar="FILE|FOLDER|GLOB|URL|-", help="what is to be read")],
    format_: Annotated[
        list[Format] | None, typer.Option("--format", "-f", help="of results; by default markdown and json")
    ] = None,
    mode: Annotated[str, typer.Option(help="such as document, table, receipt")] = "document",
    layout: Annotated[Literal["auto", "on", "off"], typer.Option(help="on: block by block")] = "auto",
    pages: Annotated[str | None, typer.Option(help="such as 1-3,7")] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="folders with all that is below them")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="until all have ended; 1 where one has failed")] = False,
) -> None:
    """Leave documents, each as a job. Prints the id of each and its document."""
    fields = {"mode": mode, **LAYOUT[layout], **({"pages": pages} if pages else {})}
    fields |= {"formats": ",".join(format_)} if format_ else {}
    submitted: dict[str, str] = {}
    failed = 0
    with errors_told("jobs submit"):
        for source in sources(what, recursive=recursive):
            try:
                job = context.obj.submit(_document(source), fields)
            except NoServerError:
                raise
            except (RefusedError, UnreadableFileError, OSError) as error:
                say("jobs submit", f"{source.shown}: {error}")
                failed += 1
                continue
            submitted[job["id"]] = source.shown
            print(f"{job['id']}  {source.shown}", flush=True)  # noqa: T201 - the output
        if wait:
            try:
                failed += _waited(context.obj, submitted)
            except KeyboardInterrupt:
                say("jobs submit", "Stopped waiting; the jobs go on. `jobs list` shows how far they are.")
                raise typer.Exit(130) from None
    raise typer.Exit(int(failed > 0))


@jobs.command("list")
def list_(
    context: typer.Context,
    status: Annotated[list[Status] | None, typer.Option(help="only these; may be given several times")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="the newest ones")] = 20,
) -> None:
    """Jobs, newest first: id, status, pages done, when it was submitted, document."""
    with errors_told("jobs list"):
        for job in context.obj.listed(status or [], limit):
            pages = f"{job['pages']['done']}/{job['pages']['total'] or '?'}"
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job["created_at"]))
            print(f"{job['id']}  {job['status']:<9}  {pages:>7}  {when}  {_name(job)}")  # noqa: T201


@jobs.command()
def show(context: typer.Context, job: Id) -> None:
    """A job as JSON: its status, pages, options, error and results."""
    with errors_told("jobs show"):
        print(json.dumps(context.obj.job(job), ensure_ascii=False, indent=2))  # noqa: T201


@jobs.command()
def get(
    context: typer.Context,
    job: Id,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE|DIR", help="a file, or a folder for one")
    ] = None,
    format_: Annotated[
        Format | None, typer.Option("--format", "-f", help="by default the first that the job was asked for")
    ] = None,
) -> None:
    """What was read, on the terminal or as a file."""
    with errors_told("jobs get"), context.obj.result(job, format_) as (name, pieces):
        if out is None and name.endswith(BINARY) and sys.stdout.isatty():
            raise UsageError(f"{name} is no text; give -o FILE.")
        target = out / name if out is not None and out.is_dir() else out
        if target is None:
            sys.stdout.buffer.writelines(pieces)
            return
        with whole(target) as part, part.open("wb") as file:
            file.writelines(pieces)


@jobs.command()
def cancel(context: typer.Context, jobs_: Ids) -> None:
    """End jobs that wait or run; pages that are being read end at once."""
    _each(context.obj, "cancel", jobs_)


@jobs.command()
def retry(context: typer.Context, jobs_: Ids) -> None:
    """Let jobs that failed or were cancelled run again; pages that were read are kept."""
    _each(context.obj, "retry", jobs_)


def _document(source: Source) -> Document | str:
    return source.shown if source.is_address else opened(source.place.name, source.data())


def _each(api: JobApi, action: str, ids: list[str]) -> None:
    failed = False
    with errors_told(f"jobs {action}"):
        for one in ids:
            try:
                print(f"{one}  {api.act(one, action)['status']}", flush=True)  # noqa: T201 - the output
            except RefusedError as error:
                say(f"jobs {action}", f"{one}: {error}")
                failed = True
    raise typer.Exit(int(failed))


def _waited(api: JobApi, submitted: dict[str, str]) -> int:
    """Wait until all have ended, and say why some have failed. Returns how many have. Raises NoServerError."""
    failed = []
    with Bar(ERROR) as bar:
        bar.add(len(submitted))
        for one, name in submitted.items():
            try:
                ended = _followed(api, one, bar)
                why = (ended["error"] or {}).get("message") or ended["status"]
            except RefusedError as error:  # it was removed, or the key was
                why = str(error)
            if why != "done":
                failed.append(f"{name}: {why}")
    say("jobs submit", f"{len(submitted) - len(failed)} done, {len(failed)} failed")
    for line in failed:
        say("jobs submit", f"  {line}")
    return len(failed)


def _followed(api: JobApi, one: str, bar: Bar) -> Job:
    """A job once it has ended; meanwhile the bar moves by its pages."""
    known, done = 1, 0
    for job in api.followed(one):
        pages = job["pages"]
        bar.add((pages["total"] or known) - known)
        bar.advance(pages["done"] - done)
        known, done = pages["total"] or known, pages["done"]
    bar.drop(known - done)
    return job


def _name(job: Job) -> str:
    source = job["source"]
    return str(source["name"] or source["url"] or "")
