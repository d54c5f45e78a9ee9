"""A process that splits PDFs and TIFFs into files of one page each: `python -m jobs.splitter BYTES`.

Untrusted bytes may hang, exhaust memory or crash it; that is one job's failure. It imports only Pillow and PDFium,
takes an order a line, as JSON, and replies with a line: {"pages": [numbers]} of the files 0001, 0002, ... or
{"refused": message}. It ends with its standard input.
"""

import json
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pypdfium2
from pypdfium2 import raw

from images import decoding
from images.errors import InvalidImage
from images.pdf import is_pdf


def main(memory: int) -> None:
    """Serve orders. `memory`: its limit in bytes."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal and a service manager signal every process
        signal.signal(number, signal.SIG_IGN)
    for kind, limit in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    for line in sys.stdin:
        order = json.loads(line)
        order |= {"source": Path(order["source"]), "folder": Path(order["folder"])}
        print(json.dumps(split(**order)), flush=True)  # noqa: T201 - the reply


def split(
    source: Path, folder: Path, max_pages: int, max_pixels: int, wanted: Sequence[Sequence[int]]
) -> dict[str, object]:
    """Split a file into a folder; the reply. `wanted`: ranges of pages, from 1, both ends included; none: all."""
    try:
        data = source.read_bytes()
        if is_pdf(data):
            return {"pages": _split_pdf(data, folder, max_pages, wanted)}
        return {"pages": _split_tiff(data, folder, max_pages, max_pixels, wanted)}
    except InvalidImage as error:
        return {"refused": str(error)}
    except MemoryError:
        return {"refused": "the document takes more memory to split than is allowed"}


def _chosen(count: int, max_pages: int, wanted: Sequence[Sequence[int]], what: str) -> list[int]:
    """Numbers of the pages to read, from 1, in their order. Raises InvalidImage."""
    for first, last in wanted:
        if last > count:
            raise InvalidImage(f"the {what} has {count} pages; there is no page {max(first, count + 1)}")
    numbers = sorted({n for first, last in wanted for n in range(first, last + 1)} or range(1, count + 1))
    if not 0 < len(numbers) <= max_pages:
        raise InvalidImage(f"the {what} has {len(numbers)} pages to read; 1 to {max_pages} can be read in one job")
    return numbers


def _split_pdf(data: bytes, folder: Path, max_pages: int, wanted: Sequence[Sequence[int]]) -> list[int]:
    try:
        with pypdfium2.PdfDocument(data) as document:
            document.init_forms()
            numbers = _chosen(len(document), max_pages, wanted, "PDF")
            for number in numbers:
                if document.formenv is not None:  # a form does not go with its page: its fields become content
                    page = document[number - 1]
                    page.flatten(raw.FLAT_NORMALDISPLAY)
                    page.close()
                with pypdfium2.PdfDocument.new() as single:
                    single.import_pages(document, [number - 1])
                    single.save(folder / f"{number:04}")
            return numbers
    except pypdfium2.PdfiumError as error:
        raise InvalidImage(f"the PDF cannot be read: {str(error).rstrip('.')}") from error


def _split_tiff(
    data: bytes, folder: Path, max_pages: int, max_pixels: int, wanted: Sequence[Sequence[int]]
) -> list[int]:
    most = max([max_pages, *(last for _, last in wanted)])
    opened = decoding.open_file(data, max_pixels, most)
    count = opened if isinstance(opened, int) else 1
    numbers = _chosen(count, max_pages, wanted, "TIFF")
    for number in numbers:
        image = decoding.open_page(data, number - 1, max_pixels)
        image.save(folder / f"{number:04}", "PNG", compress_level=1)
    return numbers


if __name__ == "__main__":
    main(int(sys.argv[1]))
