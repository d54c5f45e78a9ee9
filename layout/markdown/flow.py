"""The text of a document as it grows: what waits for what follows, separators, and the place of each block.

Two things wait: the last sentence of a block that has not ended, with the figures and notes after it, until it is
known whether the next text continues it; and the last table of a page, until it is known whether the next page begins
with more rows of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from PIL import Image

from layout.markdown import continuing, escape, formulas, grids, headings, kinds, lines, prose
from layout.markdown.continuing import Item, Sentence
from layout.markdown.figures import Figures
from layout.markdown.lists import ListWriter
from layout.markdown.options import PAGE_SEPARATOR, MarkdownOptions, Span
from layout.markdown.prose import Prose
from modes.markdown import MarkdownFinisher

BETWEEN_BLOCKS = "\n\n"


@dataclass
class Entry(Item):
    """An item on its way into the text."""

    level: int | None = None  # a heading's, where the whole document decided it
    number: str | None = None  # a formula's
    figures: dict[str, tuple[int, Image.Image]] = field(default_factory=dict)  # token in a table -> page and image
    places: list[tuple[int, int]] = field(default_factory=list)  # page and block of all that was joined to it
    last_page: int = 0
    started: bool = False  # whether it is being written
    goes_on: bool = False  # whether it continues the sentence before it
    start: int = 0  # place in the text
    sent: int = 0  # characters of its Markdown that have been written
    sure: int = 0  # characters of its text that those stand for

    def __post_init__(self) -> None:
        self.places.append((self.page.index, self.index))
        self.last_page = self.page.index


class Flow:
    """Takes entries in reading order and gives out text that no later entry changes."""

    def __init__(self, options: MarkdownOptions) -> None:
        self.spans: list[Span] = []
        self.figures = Figures(options.images)
        self._options = options
        self._length = 0
        self._page = 0  # the last one with text
        self._sentence: Sentence | None = None
        self._hyphen = ""  # at the end of the sentence, not yet written
        self._list: ListWriter | None = None  # the one that the text ends with
        self._table: Entry | None = None  # one of those held
        self._held: list[Entry] = []
        self._titles: list[headings.Title] = []

    @property
    def waits(self) -> bool:
        return self._sentence is not None or self._table is not None

    def start(self, entry: Entry, words: str) -> str:
        """Begin a text whose first words are known; what is given out comes before it."""
        text = self._leave_page(entry) + self._before(entry, words)
        if not entry.goes_on:
            text += self._separate(entry.page.index)
        entry.started, entry.start = True, self._length
        return text

    def stream(self, entry: Entry, text: str) -> str:
        """Write the next part of a text that was started, as it is."""
        entry.sent += len(text)
        return self._put(text)

    def accept(self, entry: Entry) -> str:
        """Take an entry whose text is whole."""
        if entry.started:
            return self._write(entry)
        self._name_figures(entry)
        if self._table and (rows := self._more_rows(self._table, entry)) is not None:
            return self._extend(self._table, rows, entry)
        text = self._leave_page(entry)
        may_go_on = kinds.kind_of(entry.read) == "table" and kinds.last_of_page(entry.page, entry.index)
        if entry.floats and (self.waits or may_go_on):
            self._table = entry if may_go_on and not entry.read.error else self._table
            self._held.append(entry)
            return text if self.waits else text + self.flush()
        words = entry.raw.strip()
        if not words and not entry.read.error and kinds.kind_of(entry.read) != "image":
            return text
        return text + self._before(entry, words) + self._write(entry)

    def flush(self) -> str:
        """Write all that waits."""
        text = self._put_hyphen()
        held, self._held, self._sentence, self._table = self._held, [], None, None
        return text + "".join(map(self._write, held))

    def _put(self, text: str) -> str:
        self._length += len(text)
        return text

    def _put_hyphen(self) -> str:
        """Write the hyphen that waits, at the end of the block written last."""
        text, self._hyphen = self._put(self._hyphen), ""
        if text:
            self.spans[-1] = replace(self.spans[-1], end=self._length)
        return text

    def _separate(self, page: int, *, tight: bool = False) -> str:
        between = ("\n" if tight else BETWEEN_BLOCKS) if page <= self._page else PAGE_SEPARATOR
        between, self._page = between if self._length else "", max(page, self._page)
        self._list = self._list if tight else None
        return self._put(between)

    def _leave_page(self, entry: Entry) -> str:
        """Give up the table that waits, once the next page has begun with something else."""
        table = self._table
        if table is None or entry.page.index == table.last_page or entry.read.block.running:
            return ""
        if continuing.announces(entry):
            return ""
        self._table = None
        return "" if self.waits else self.flush()

    def _before(self, entry: Entry, words: str) -> str:
        """Join a text to the sentence that waits for it, or write what waits."""
        sentence = self._sentence
        if sentence is None or not kinds.flows(entry.read) or not sentence.goes_on(entry, words, bool(self._held)):
            return self.flush() if self.waits else ""
        dropped, between = lines.glue(sentence.raw, words)
        self._hyphen, entry.goes_on = "" if dropped else self._hyphen, True
        text = self._put_hyphen() + self._put(between)
        self._list, self._page = sentence.in_list, max(self._page, entry.page.index)
        entry.start = self._length
        return text

    def _more_rows(self, table: Entry, entry: Entry) -> str | None:
        if kinds.kind_of(entry.read) != "table":
            return None
        return continuing.continued_table(table, table.last_page, entry)

    def _name_figures(self, entry: Entry) -> None:
        """Make the tokens of figures differ between pages, whose tables may be joined."""
        for token, image in entry.read.figures.items():
            own = f"{token[:-1]}:{entry.page.index}{token[-1:]}"
            entry.raw = entry.raw.replace(token, own)
            entry.figures[own] = entry.page.index, image

    def _extend(self, table: Entry, rows: str, entry: Entry) -> str:
        table.raw, table.last_page = rows, entry.page.index
        table.places += entry.places
        table.figures |= entry.figures
        if not kinds.last_of_page(entry.page, entry.index) or entry.read.error:
            self._table = None
        return "" if self.waits else self.flush()

    def _write(self, entry: Entry) -> str:
        """Write an entry, or the rest of one."""
        written = self._markdown(entry)
        if entry.read.error:
            marker = kinds.marker_of_error(entry.read)
            between = " " if kinds.kind_of(entry.read) == "text" else BETWEEN_BLOCKS
            written = Prose(between.join(filter(None, (written.text, marker))), written.begins_list)
        if not written.text:
            return ""
        text = ""
        if not entry.started and not entry.goes_on:
            text = self._separate(entry.page.index, tight=written.begins_list and self._joins_list(entry))
            entry.start = self._length
        body = written.text[entry.sent :]
        if written.open:
            body = self._keep_open(entry, written, body)
        text += self._put(body)
        self._list, self._page = written.list, max(self._page, entry.last_page)
        self.spans += [Span(page, block, entry.start, self._length) for page, block in entry.places]
        return text + (self.flush() if entry.goes_on and not written.open else "")

    def _joins_list(self, entry: Entry) -> bool:
        return self._list is not None and entry.page.index <= self._page

    def _keep_open(self, entry: Entry, written: Prose, body: str) -> str:
        """Remember the sentence that the entry ends with; a hyphen at its end waits."""
        raw = entry.raw.rstrip()
        width = lines.ems(raw) + (self._sentence.width if self._sentence and entry.goes_on else 0)
        box = entry.read.block.parts[-1].box
        self._sentence = Sentence(entry.page.index, entry.label, box, raw, width, written.list)
        if len(written.text) > 1 and body[-1:] in tuple(lines.HYPHENS):
            body, self._hyphen = body[:-1], body[-1]
        return body

    def _markdown(self, entry: Entry) -> Prose:
        kind, raw = kinds.kind_of(entry.read), entry.raw
        if kind == "text":
            after = self._list if entry.goes_on or (self._joins_list(entry) and not entry.started) else None
            return prose.prose(raw, entry.size, goes_on=entry.goes_on, after=after, flows=kinds.flows(entry.read))
        return Prose(self._other(entry) if kind != "image" else self._image(entry))

    def _other(self, entry: Entry) -> str:
        kind, raw = kinds.kind_of(entry.read), entry.raw
        if kind == "heading":
            line = prose.heading_line(raw)
            return f"{'#' * self._level(entry)} {line}" if line else ""
        if kind == "formula":
            return "" if entry.read.error else formulas.formula(raw, entry.number)
        if kind == "table":
            return self._grid(entry)
        if kind == "chart":
            return grids.chart(raw)
        if kind == "lines":
            return prose.kept_lines(raw)
        if kind == "page":
            finisher = MarkdownFinisher()
            return (finisher.push(raw) + finisher.end()).strip()
        if kind == "code":
            return escape.code(prose.readable_code(raw)) if raw.strip() else ""
        return escape.line_start(prose.running_line(raw))

    def _image(self, entry: Entry) -> str:
        image, text = entry.read.image, prose.running_line(entry.raw).replace("[", r"\[").replace("]", r"\]")
        return self.figures.add(image, entry.page.index, entry.label, text) if image else ""

    def _grid(self, entry: Entry) -> str:
        table_format, raw = self._options.table_format, entry.raw
        html = grids.is_html(raw, table_format)
        shown = {
            token: self.figures.add(image, page, entry.label, html=html)
            for token, (page, image) in entry.figures.items()
        }
        return grids.table(raw, table_format, shown, entry.size)

    def _level(self, entry: Entry) -> int:
        self._titles.append(title_of(entry))
        return entry.level or headings.levels(self._titles)[-1]


def title_of(item: Item) -> headings.Title:
    """A title as the levels of headings are decided by it."""
    printed = [line.strip() for line in item.raw.split("\n") if line.strip()]
    count = lines.printed_lines(printed, item.size)
    size = headings.letter_size(printed[0], printed[-1], count, max(1, item.size[1]))
    return headings.Title(lines.join(printed), item.label == "doc_title", size / kinds.side(item.page))


def levels_of(items: list[Item]) -> Mapping[tuple[int, int], int]:
    """The levels of a whole document's titles, by page and block."""
    titles = [item for item in items if kinds.kind_of(item.read) == "heading" and item.raw.strip()]
    levels = headings.levels([title_of(item) for item in titles])
    return {(item.page.index, item.index): level for item, level in zip(titles, levels, strict=True)}
