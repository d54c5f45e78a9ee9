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
    items = [Item(page, block, index, block.text) for page in pages for index, block in enumerate(page.blocks)]
    writer = MarkdownWriter(options, levels_of(items))
    text = ""
    for page in pages:
        for block in page.blocks:
            text += writer.begin(page, block) + writer.push(block.text) + writer.end()
    text += writer.finish()
    return Document(text, writer.spans, writer.images)
