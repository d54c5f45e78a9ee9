"""`paddleocr-vl`: what a person does with the server, from a terminal."""

import sys

try:
    import typer
except ImportError:
    sys.exit("paddleocr-vl needs its libraries: pip install 'paddleocr-vl-server[client]'")

from cli.extract import extract
from cli.jobs import jobs
from cli.ocr import ocr
from cli.operating import PASSED_ON, doctor, import_, serve

app = typer.Typer(
    name="paddleocr-vl",
    help="Read documents with PaddleOCR-VL, and run its server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(ocr)
app.command()(extract)
app.add_typer(jobs, name="jobs")
app.command()(doctor)
app.command(context_settings=PASSED_ON)(serve)
app.command("import", context_settings=PASSED_ON, no_args_is_help=True)(import_)


def main() -> None:
    app()


def read_documents() -> None:
    """`ocr` alone, for scripts/ocr.py."""
    typer.run(ocr)


if __name__ == "__main__":
    main()
