"""Markdown of a document that has been read whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from layout.markdown.continuing import Item
from layout.markdown.flow import levels_of
from layout.markdown.options import MarkdownOptions, Span
from layout.markdown.writer import MarkdownWriter
from layout.pages import ReadPage


@dataclass(frozen=True)
class Document:
    """A document's Markdown."""

    text: str
    spans: Sequence[Span]  # places of the blocks in the text, in its order
    images: Mapping[str, Image.Image]  # what the text refers to, by name


def document_markdown(pages: Sequence[ReadPage], options: MarkdownOptions | None = None) -> Document:
    """Write a document's pages as Markdown. Levels of headings are decided by all titles of the document.

    Everything else is as `MarkdownWriter` gives it out while the pages are read.
    """
    return _written(pages, MarkdownWriter(options, _levels(pages)))


def pages_markdown(pages: Sequence[ReadPage], options: MarkdownOptions | None = None) -> list[Document]:
    """The same page by page: nothing is joined over pages, but the levels of headings are those of the document."""
    levels = _levels(pages)
    return [_written([page], MarkdownWriter(options, levels)) for page in pages]


def _levels(pages: Sequence[ReadPage]) -> Mapping[tuple[int, int], int]:
    return levels_of(
        [Item(page, block, index, block.text) for page in pages for index, block in enumerate(page.blocks)]
    )


def _written(pages: Sequence[ReadPage], writer: MarkdownWriter) -> Document:
    text, next_page = "", None
    for page in pages:
        if page.index != next_page:
            text += writer.finish()  # a page is left out: nothing goes on over the gap
        next_page = page.index + 1
        for block in page.blocks:
            text += writer.begin(page, block) + writer.push(block.text) + writer.end()
    text += writer.finish()
    return Document(text, writer.spans, writer.images)
