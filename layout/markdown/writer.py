"""Markdown of a document while it is read: what is given out is never taken back."""

import re
from collections.abc import Mapping, Sequence

from PIL import Image

from layout.markdown import escape, formulas, kinds, lines, lists
from layout.markdown.flow import Entry, Flow
from layout.markdown.options import MarkdownOptions, Span
from layout.pages import ReadBlock, ReadPage
from modes.markdown import MarkdownFinisher

FIRST_WORDS = 24  # characters from which it is known how a text begins: as an item, or as the rest of a sentence
_SURE = re.compile(  # what no later text changes: letters and such, and whole formulas
    r"(?:[^\n\r$*_\\`~<&\[\]|\U000f0000-\U000ffffd]|(?>\\\(.*?\\\))(?!\\|\Z))*", re.DOTALL
)


class MarkdownWriter:
    """Takes a document's blocks in reading order, each with its text in pieces, and writes Markdown.

    Every method returns what it adds; the pieces joined are the document, however the texts were cut. A page's blocks
    must all be listed in `page.blocks` when the first of them begins: labels and boxes of those to come are looked at,
    their texts are not. Text is given out up to the first sign whose meaning depends on what follows, the rest of it
    when its block ends; other kinds of block when they end.

    `levels`: of headings, by page and block; without it, each is decided by the titles so far.
    """

    def __init__(
        self, options: MarkdownOptions | None = None, levels: Mapping[tuple[int, int], int] | None = None
    ) -> None:
        self._options = options or MarkdownOptions()
        self._levels = levels or {}
        self._flow = Flow(self._options)
        self._entry: Entry | None = None  # None between blocks, and in one that is left out
        self._finisher, self._finished = MarkdownFinisher(), ""  # those of a page that is one block: text so far
        self._waiting: Entry | None = None  # a formula or its number, until the other has been read
        self._partner: ReadBlock | None = None  # the other

    @property
    def spans(self) -> Sequence[Span]:
        """Places of the blocks that have been written, in the order of the text. Those left out have none."""
        return self._flow.spans

    @property
    def images(self) -> Mapping[str, Image.Image]:
        """The images that the text refers to, by name."""
        return self._flow.figures.by_name

    def begin(self, page: ReadPage, block: ReadBlock) -> str:
        """Begin a block of a page; its text comes by `push`, and `block.text` is not read.

        Raises `ValueError` for a block that the page does not list.
        """
        index = [one is block for one in page.blocks].index(True)
        text = ""
        if self._waiting and block is not self._partner:
            text = self._let_go()
        if self._options.running or not block.block.running:
            self._finisher, self._finished = MarkdownFinisher(), ""
            self._entry = Entry(page, block, index, level=self._levels.get((page.index, index)))
        return text

    def push(self, text: str) -> str:
        """Take more of the block's text, as the model writes it, cut anywhere."""
        entry = self._entry
        if entry is None:
            return ""
        entry.raw += text
        kind = kinds.kind_of(entry.read)
        if kind == "page":
            return self._stream_page(entry, text)
        return self._stream(entry) if kind == "text" else ""

    def end(self) -> str:
        """End the block. By now `block.error`, `block.image` and `block.figures` are what they will be."""
        entry, self._entry = self._entry, None
        if entry is None:
            return ""
        if self._waiting and entry.read is self._partner:
            return self._pair(self._waiting, entry)
        partner = _partner(entry)
        if partner is None:
            return self._flow.accept(entry)
        self._waiting, self._partner = entry, partner
        return ""

    def finish(self) -> str:
        """End the document."""
        return self._let_go() + self._flow.flush()

    def _stream(self, entry: Entry) -> str:
        raw = entry.raw.lstrip()
        if not entry.started and (len(raw) < FIRST_WORDS or not self._can_start(entry, raw)):
            return ""
        text = "" if entry.started else self._flow.start(entry, raw)
        found = _SURE.match(raw, entry.sure)
        whole = found.group() if found else ""
        protected = escape.protect(whole)
        sure = protected.text.rstrip().rstrip(lines.HYPHENS + lines.DASH).rstrip()
        entry.sure += len(whole) - (len(protected.text) - len(sure))
        return text + self._flow.stream(entry, protected.restore(sure))

    def _stream_page(self, entry: Entry, text: str) -> str:
        """What of a page that is one block can be given out."""
        self._finished += self._finisher.push(text)
        new = self._finished.strip()[entry.sent :]
        if not new:
            return ""
        before = "" if entry.started else self._flow.start(entry, entry.raw.lstrip())
        return before + self._flow.stream(entry, new)

    def _can_start(self, entry: Entry, raw: str) -> bool:
        line = raw[:FIRST_WORDS].split("\n")[0]
        plain = raw[0].isalnum() and escape.line_start(line) == line and lists.marker(line) is None
        return plain and not (entry.floats and self._flow.waits)

    def _let_go(self) -> str:
        entry, self._waiting, self._partner = self._waiting, None, None
        return self._flow.accept(entry) if entry else ""

    def _pair(self, first: Entry, second: Entry) -> str:
        """Write a formula with the number beside it, or both on their own."""
        self._waiting = self._partner = None
        formula, number = (first, second) if kinds.kind_of(first.read) == "formula" else (second, first)
        formula.number = formulas.number_of(number.raw, formula.raw)
        if formula.number is None or formula.read.error or number.read.error or not formula.raw.strip():
            formula.number = None
            return self._flow.accept(first) + self._flow.accept(second)
        formula.places = first.places + second.places
        return self._flow.accept(formula)


def _partner(entry: Entry) -> ReadBlock | None:
    """The next block, if it is the number of this formula, or the formula of this number."""
    following = entry.page.blocks[entry.index + 1 : entry.index + 2]
    if not following or not kinds.beside(entry.read.block, following[0].block):
        return None
    both = {kinds.kind_of(entry.read), kinds.kind_of(following[0])}
    return following[0] if both == {"formula", "tag"} else None
