"""Pages that were read one by one -> one document: sentences and tables that go on, levels of headings, page breaks."""

import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from PIL import Image

from jobs.document import Document
from jobs.job import DOCUMENT, JobOptions
from layout.markdown.document import document_markdown
from layout.markdown.options import PAGE_SEPARATOR, MarkdownOptions
from layout.reported import read_page

PAGE_FACTS = ("page", "width", "height", "angle", "error", "layout", "confidence")


def joined(pages: Iterable[dict[str, Any]], options: JobOptions) -> Document:
    """The document of all pages, each as `readers.ChatReader.ask` gave it."""
    kept = list(pages)
    if options.mode == DOCUMENT and all(page["blocks"] is not None for page in kept):
        return _of_blocks(kept, options)
    return _of_contents(kept, options)


def _of_blocks(pages: Sequence[dict[str, Any]], options: JobOptions) -> Document:
    read = [read_page(page, page["blocks"]) for page in pages]
    written = document_markdown(
        read,
        MarkdownOptions(images=options.images, running=options.running, table_format=options.table_format),
    )
    numbers = {page["page"] - 1: place for place, page in enumerate(pages)}
    places = {(numbers[span.page], span.block): [span.start, span.end] for span in written.spans}
    blocks = [
        {"page": page["page"], **_shown(block), "text": places.get((place, number))}
        for place, page in enumerate(pages)
        for number, block in enumerate(page["blocks"])
    ]
    return Document(
        mode=options.mode,
        markdown=written.text,
        pages=[{name: page[name] for name in PAGE_FACTS} for page in pages],
        blocks=blocks,
        images={name: _png(image) for name, image in written.images.items()},
    )


def _of_contents(pages: Sequence[dict[str, Any]], options: JobOptions) -> Document:
    """One answer a page: a JSON list of what was extracted, or texts with a rule between them."""
    contents = [page["content"] for page in pages]
    objects = _objects(contents) if len(contents) > 1 else None
    return Document(
        mode=options.mode,
        markdown=PAGE_SEPARATOR.join(contents) if objects is None else json.dumps(objects, ensure_ascii=False),
        pages=[{**{name: page[name] for name in PAGE_FACTS}, **_extracted(page)} for page in pages],
        blocks=[],
    )


def _extracted(page: dict[str, Any]) -> dict[str, Any]:
    return {"content": page["content"], **{name: page[name] for name in ("fields", "checks") if page[name] is not None}}


def _objects(contents: Sequence[str]) -> list[Any] | None:
    """Contents that are all JSON objects or lists, as one list."""
    try:
        objects = [json.loads(content) for content in contents]
    except ValueError:
        return None
    return objects if all(isinstance(one, dict | list) for one in objects) else None


def _shown(block: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name != "raw"} | {"content": block["raw"]["text"]}


def _png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()
