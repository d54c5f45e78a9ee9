"""A document and what was read in it -> a searchable PDF: the pages as they came, with their text under them."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from exports.searchable.order import Order, Page
from images.decoding import BYTES_PER_PIXEL, MAX_PIXELS

SECONDS = 120.0  # for a document, and
SECONDS_PER_MEBIBYTE = 2.0  # for each of its mebibytes, and
SECONDS_PER_PAGE = 1.0
MEMORY = 256 * 2**20  # bytes for the process with its libraries
BYTES_PER_CHARACTER = 64  # with its place


class SearchableError(ValueError):
    """Error for a document of which no searchable PDF can be made; the message says why."""


def searchable_pdf(source: Path, pages: Sequence[Page]) -> bytes:
    """The PDF of a file with an image or document, made in a process of its own. Raises SearchableError."""
    size = source.stat().st_size
    characters = sum(len(text.text) for page in pages for text in page.texts)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "pdf"
        order = Order(
            source=str(source.absolute()),
            target=str(target),
            memory=MEMORY + 4 * size + BYTES_PER_PIXEL * MAX_PIXELS + BYTES_PER_CHARACTER * characters,
            pages=list(pages),
        )
        _run(order, SECONDS + SECONDS_PER_MEBIBYTE * size / 2**20 + SECONDS_PER_PAGE * len(pages))
        return target.read_bytes()


def _run(order: Order, seconds: float) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    line = (sys.executable, "-P", "-m", "exports.searchable.process")
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            line,
            input=order.model_dump_json().encode(),
            capture_output=True,
            timeout=seconds,
            env=environment,
            start_new_session=True,  # Ctrl-C is its parent's to answer
        )
        refused = json.loads(done.stdout)["refused"]
    except (subprocess.TimeoutExpired, ValueError):
        refused = "its decoder crashed or hung over it"
    if refused is not None:
        raise SearchableError(f"a searchable PDF cannot be made of the document: {refused}")
