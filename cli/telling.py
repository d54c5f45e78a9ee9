"""What the command says to the person, beside its output."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from cli.errors import NoServerError, RefusedError, UsageError

ERROR = Console(stderr=True)


def say(command: str, line: str) -> None:
    """A line to the person, on the standard error."""
    ERROR.print(f"{command}: {line}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def errors_told(command: str) -> Iterator[None]:
    """What a person can put right ends the command in one line.

    The exit code is 2, or 1 where a server refuses or none answers.
    """
    try:
        yield
    except (UsageError, RefusedError, OSError) as error:
        say(command, str(error))
        raise typer.Exit(1 if isinstance(error, NoServerError | RefusedError) else 2) from None
