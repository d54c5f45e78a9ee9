"""Runs over many documents: onto the terminal one after another, or into a folder several at once."""

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from openai import OpenAI, OpenAIError

from cli.bar import Bar
from cli.documents import opened
from cli.errors import NoServerError, UnreadableFileError
from cli.formats import Result
from cli.output import Outputs, Placed
from cli.plan import Plan
from cli.reading import Batch, Tally
from cli.server import check, connect, read, reason
from cli.sources import Source
from cli.telling import ERROR, say


def run(command: str, plan: Plan, out: Path | None, looks: Iterable[list[Placed]]) -> int:
    """Documents onto the terminal, or into the folder `out`; `looks`: what is found by and by. Returns the exit code.

    Raises UsageError, NoServerError, OSError.
    """
    with connect() as client:
        check(client)
        if out is None:
            return _printed(command, client, plan, [source for found in looks for source, _ in found])
        return _written(command, client, plan, out, looks)


def _written(command: str, client: OpenAI, plan: Plan, out: Path, looks: Iterable[list[Placed]]) -> int:
    outputs = Outputs(out, (plan.form.suffix,), repr((plan.wishes, plan.pages, plan.form)))
    began = time.monotonic()
    with Bar(ERROR) as bar:
        batch = Batch(client, plan, outputs, bar)
        try:
            for found in looks:
                batch.run(found)
                if batch.tally.stopped or batch.tally.fatal:
                    break
        except KeyboardInterrupt:  # between two looks
            batch.tally.stopped = True
    _summary(command, batch.tally, time.monotonic() - began)
    return batch.tally.code


def _summary(command: str, tally: Tally, seconds: float) -> None:
    """What was done and what failed, and why."""
    rate = f", {tally.pages / seconds:.2f} pages/s" if tally.pages and seconds else ""
    before = f", {tally.skipped} done before" if tally.skipped else ""
    lines = [f"{tally.read} documents read ({tally.pages} pages{rate}){before}, {len(tally.failed)} failed"]
    lines += [f"  {shown}: {why}" for shown, why in tally.failed]
    if tally.fatal:
        lines.append(tally.fatal)
    if tally.stopped:
        lines.append("Stopped. The same command goes on from here.")
    for line in lines:
        say(command, line)


def _printed(command: str, client: OpenAI, plan: Plan, found: Sequence[Source]) -> int:
    """Documents one after another on the terminal, Markdown as it comes."""
    failed: list[str] = []
    for source in found:
        if len(found) > 1 and plan.form.streams:
            print(f"==> {source.shown} <==", flush=True)  # noqa: T201 - the output
        try:
            if not _print(client, plan, source):
                failed.append(f"{source.shown}: the server's token limit cut the text short")
        except NoServerError as error:
            failed.append(str(error))
            break
        except (OpenAIError, UnreadableFileError, OSError) as error:
            failed.append(f"{source.shown}: {reason(error)}")
    for line in failed:
        say(command, line)
    return int(bool(failed))


def _print(client: OpenAI, plan: Plan, source: Source) -> bool:
    """Whether the text is whole. Raises what `read` and `opened` raise."""
    document = opened(PurePosixPath(source.place).name, source.data(), plan.pages)
    shown = False

    def show(piece: str, _: Any) -> None:
        nonlocal shown
        if piece and plan.form.streams:
            sys.stdout.write(piece)
            sys.stdout.flush()
            shown = True

    try:
        answer = read(client, document, plan.wishes, show)
    finally:
        if shown:
            print(flush=True)  # noqa: T201
    if not plan.form.streams:
        sys.stdout.write(plan.form.text(Result(document, answer)))
    return not answer.cut
