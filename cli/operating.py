"""`doctor`, `serve` and `import`: what an operator does. All but `doctor` need the extra `server`."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.checks import Finding, checks, port_taken

ERROR = Console(stderr=True)
SIGNS = {"good": "[green]ok[/]  ", "note": "[yellow]note[/]", "bad": "[red]bad[/] "}
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def doctor() -> None:
    """Look at this machine as a start of the server would: GPU, PyTorch, memory, models, disk, port.

    The exit code is 1 if something keeps the server from starting, or the GPU from being used.
    """
    console = Console()
    found: list[Finding] = []
    for finding in checks():
        found.append(finding)
        console.print(SIGNS[finding.level], end=" ")
        console.print(finding.what, markup=False, highlight=False, soft_wrap=True)
        if finding.advice:
            console.print(f"     -> {finding.advice}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(any(finding.level == "bad" for finding in found))


def serve(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(metavar="TAG", help="what is served: a tag, or HUB_ID@COMMIT")] = None,
    layout: Annotated[str | None, typer.Option(metavar="TAG", help="what finds the blocks of pages")] = None,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="default 0.0.0.0")] = None,
    port: Annotated[int | None, typer.Option(help="default 8001")] = None,
) -> None:
    """Start the server. Other options go to `bentoml serve`; docs/settings.md lists the settings."""
    chosen = {"MODEL": model, "LAYOUT": layout, "HOST": host, "PORT": port}
    os.environ.update({name: str(value) for name, value in chosen.items() if value is not None})
    folder = _server()
    taken = port_taken(os.environ.get("HOST") or "0.0.0.0", int(os.environ.get("PORT") or 8001))  # noqa: S104
    if taken is not None:
        ERROR.print(f"serve: {taken}. Choose another by --port.", markup=False, soft_wrap=True)
        raise typer.Exit(1)
    os.chdir(folder)
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", "serve", *context.args])  # noqa: S606


def import_(context: typer.Context) -> None:
    """Put a checkpoint into the model store: SOURCE, --list, --verify, --revision COMMIT, --name NAME.

    SOURCE is tiny, a local folder, or a hub id such as PaddlePaddle/PaddleOCR-VL-1.5.
    """
    _server()
    from scripts.import_model import main

    raise typer.Exit(main(context.args))


def _server() -> Path:
    """The folder of the server's modules. Ends the command where it is not installed."""
    if find_spec("bentoml") is None or find_spec("torch") is None:
        ERROR.print("The server is not installed here: scripts/setup, or pip install '.[server]'", markup=False)
        raise typer.Exit(1)
    found = find_spec("service")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent
