"""The transcript of a document for extraction: the lines of its blocks as they stand on the page."""

import re
from collections.abc import Iterator, Sequence

from answers.transcript import Transcript
from layout.markdown.options import PAGE_SEPARATOR
from layout.pages import ReadBlock, ReadPage
from modes.arrangement import BoxedText, pieces_of

_LINE = re.compile(r"(?:(?!<nl>)[^\n])+(?:<nl>)?")
"""A line of text, or a row of a table."""


def arranged(pages: Sequence[ReadPage], transcript: Transcript) -> Transcript:
    """The same lines, page by page: those side by side as one, with tabs where there are gaps.

    `transcript`: has the texts of all blocks in their order. The lines of a block are parted evenly over its box.
    """
    made, end = Transcript(), 0
    for page in pages:
        lines: list[BoxedText] = []
        for block in page.blocks:
            if block.text:
                start = transcript.text.index(block.text, end)
                end = start + len(block.text)
                lines += _lines(block, start)
        if lines and made.text:
            made.add(PAGE_SEPARATOR, None)
        for between, line in pieces_of(lines):
            made.add(between, None)
            if line is not None and line.place is not None:
                made.append(transcript.part(*line.place), "")
    return made


def _lines(read: ReadBlock, start: int) -> Iterator[BoxedText]:
    """The lines of a block. `start`: characters of the transcript before it."""
    found = [match for match in _LINE.finditer(read.text) if match[0].strip()]
    boxes = [part.box for part in read.block.parts]
    left, right = min(box.left for box in boxes), max(box.right for box in boxes)
    top, bottom = min(box.top for box in boxes), max(box.bottom for box in boxes)
    step = (bottom - top) / max(1, len(found))
    for number, match in enumerate(found):
        text = match[0].strip()
        first = start + match.start() + match[0].index(text)
        upper = top + number * step
        yield BoxedText(text, left, upper, right, upper + step, (first, first + len(text)))
