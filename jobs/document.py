"""A document that has been read: what its formats are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Document:
    """The whole document. Pages and blocks are JSON as `GET /v1/jobs/{id}/result` shows them."""

    mode: str
    markdown: str  # for a mode that extracts, its JSON
    pages: list[dict[str, Any]]  # page, width, height, angle, error, ...
    blocks: list[dict[str, Any]]  # page, order, label, box, text: [start, end) in the Markdown, content, ...
    images: Mapping[str, bytes] = field(default_factory=dict)  # PNG by the name that the Markdown has
