"""What a client should be told of images and pages that were read all the same."""

from collections.abc import Iterator, Sequence

from images.source import ImageSource
from layout.pages import ReadPage

LIKELY_TURNED = 0.85
"""Confidence of a reading below which its image may lie on its side or head.

Measured with the embedded checkpoint on six small documents: at least 0.99 upright, at most 0.82 turned.
"""


def doubts(confidence: float | None) -> Iterator[str]:
    """What the confidence of a reading says of its image."""
    if confidence is not None and confidence < LIKELY_TURNED:
        yield "the text was read with little certainty: the image may lie on its side or head, or be blurred"


def doubts_of_pages(pages: Sequence[ReadPage]) -> Iterator[str]:
    """The same of pages, each by its number."""
    for page in pages:
        yield from (f"page {page.index + 1}: {doubt}" for doubt in doubts(page.confidence))


def warnings_of(page: ReadPage, sources: Sequence[ImageSource]) -> list[str]:
    """All warnings about one page of a document."""
    return [*sources[page.index].warnings, *doubts(page.confidence)]
