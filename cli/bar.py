"""The bar: pages done and known, their rate, and the time left."""

from threading import Lock
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Bar:
    """A bar on the terminal, if there is one. A document that is not opened yet counts as one page."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("pages", total=0, rate="")
        self._lock = Lock()
        self._total = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def add(self, pages: int) -> None:
        """More pages are known."""
        with self._lock:
            self._total += pages
            self._progress.update(self._task, total=self._total)

    def drop(self, pages: int = 1) -> None:
        """Pages that are known will not be read."""
        self.add(-pages)

    def advance(self, pages: int) -> None:
        """Pages are done."""
        task = self._progress.tasks[0]
        self._progress.update(self._task, advance=pages)
        self._progress.update(self._task, rate=f"{task.speed:.2f}/s" if task.speed else "")
