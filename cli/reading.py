"""Documents read several at once, each into its files; what failed and why."""

import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from openai import OpenAI, OpenAIError

from cli.bar import Bar
from cli.documents import opened
from cli.errors import NoServerError, StoppedError, UnreadableFileError
from cli.formats import Result
from cli.output import Outputs
from cli.plan import Plan
from cli.server import read, reason
from cli.sources import Source


@dataclass
class Tally:
    """What became of the documents."""

    read: int = 0
    skipped: int = 0  # done before
    pages: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)  # document, reason
    fatal: str | None = None  # why none of the rest was tried
    stopped: bool = False

    @property
    def code(self) -> int:
        """Exit code: 130 after Ctrl-C, 1 where anything failed."""
        return 130 if self.stopped else int(bool(self.failed or self.fatal))


class Batch:
    """Documents on their way into an output folder."""

    def __init__(self, client: OpenAI, plan: Plan, outputs: Outputs, bar: Bar) -> None:
        self.tally = Tally()
        self._client, self._plan, self._outputs, self._bar = client, plan, outputs, bar
        self._stop = threading.Event()

    def run(self, found: Sequence[tuple[Source, PurePosixPath]]) -> None:
        """Read all, as many at once as wanted. Ctrl-C ends it; documents that are not whole are left out."""
        self._bar.add(len(found))
        rest = iter(found)
        running: dict[Future[None], Source] = {}
        with ThreadPoolExecutor(self._plan.jobs) as pool:
            try:
                while True:
                    while len(running) < self._plan.jobs and (following := next(rest, None)) and not self.tally.fatal:
                        running[pool.submit(self._one, *following)] = following[0]
                    if not running:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        self._settle(running.pop(future), future)
            except KeyboardInterrupt:
                self.tally.stopped = True
                self._stop.set()
                for future, source in running.items():
                    self._settle(source, future)

    def _settle(self, source: Source, future: "Future[None]") -> None:
        try:
            future.result()
        except StoppedError:
            pass
        except NoServerError as error:
            if not self.tally.stopped:
                self.tally.fatal = self.tally.fatal or str(error)
        except (OpenAIError, UnreadableFileError, OSError) as error:
            self.tally.failed.append((source.shown, reason(error)))

    def _one(self, source: Source, place: PurePosixPath) -> None:
        plan, known, counted = self._plan, 1, _Counted(self._bar, self._stop)
        try:
            data = source.data()
            digest = self._outputs.digest(data)
            if self._outputs.is_done(place, digest):
                self.tally.skipped += 1
                self._bar.drop()
                return
            document = opened(source.place.name, data, plan.pages)
            self._bar.add(document.pages - 1)
            known = document.pages
            answer = read(self._client, document, plan.wishes, counted)
            files = plan.form.files(Result(document, answer), place.name)
            self._outputs.write(place, digest, files)
        except BaseException:
            self._bar.drop(known - counted.done)
            raise
        self._bar.advance(document.pages - counted.done)
        self.tally.read += 1
        self.tally.pages += document.pages
        if answer.cut:
            self.tally.failed.append(
                (source.shown, "the server's token limit cut the text short; the file has the rest")
            )


class _Counted:
    """A listener that moves the bar by pages, and stops the reading if its reader has."""

    def __init__(self, bar: Bar, stop: threading.Event) -> None:
        self._bar, self._stop = bar, stop
        self.done = 0

    def __call__(self, _: str, progress: dict[str, Any] | None) -> None:
        if self._stop.is_set():
            raise StoppedError
        if progress is not None and progress["page"] - 1 > self.done:
            self._bar.advance(progress["page"] - 1 - self.done)
            self.done = progress["page"] - 1
