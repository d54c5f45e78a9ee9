"""What a request may choose about the Markdown of a document, and what is returned besides the text."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from modes.tables import TableFormat

Images: TypeAlias = Literal["link", "inline", "none"]

PAGE_SEPARATOR = "\n\n---\n\n"  # Markdown's thematic break


@dataclass(frozen=True)
class MarkdownOptions:
    """How a document's Markdown is written."""

    images: Images = "link"
    """`link`: figures by a name that is unique in the document; `inline`: as data URIs; `none`: left out."""
    running: bool = False  # whether headers, footers and page numbers are written
    table_format: TableFormat = "auto"  # `auto`: HTML for a table with merged cells, else Markdown


@dataclass(frozen=True)
class Span:
    """The place of a block in the text. Blocks that were joined to one table or formula share theirs."""

    page: int  # `ReadPage.index`
    block: int  # place in `ReadPage.blocks`
    start: int  # characters
    end: int  # the first character after it
