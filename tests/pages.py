"""Read pages for tests: blocks with text below one another, and Markdown as a reader of it sees it."""

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token
from PIL import Image

from layout.blocks import Block
from layout.markdown.document import Document, document_markdown
from layout.markdown.options import MarkdownOptions
from layout.markdown.writer import MarkdownWriter
from layout.pages import ReadBlock, ReadPage
from layout.tasks import task_of
from models.detection import Box, Detection

SIZE = (1000, 1400)
LINE = 20.0  # pixels
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def block(
    label: str,
    text: str = "",
    *,
    box: tuple[float, float, float, float] | None = None,
    read: bool = False,
    error: str | None = None,
    image: Image.Image | None = None,
    figures: dict[str, Image.Image] | None = None,
) -> ReadBlock:
    """A block; without a box, one that `page` places below the one before it. `read`: also if it is an image."""
    found = Detection(label, 0.9, Box(*(box or (0, 0, 0, 0))), 0)
    task = task_of(label, {label} if read else ())
    return ReadBlock(block=Block((found,), task=task), text=text, error=error, image=image, figures=figures or {})


def page(*blocks: ReadBlock, index: int = 0) -> ReadPage:
    """A page of blocks, each as high as its lines are, over the whole width."""
    top = 0.0
    for one in blocks:
        (part,) = one.block.parts
        if part.box.area == 0:
            height = LINE * (one.text.strip().count("\n") + 1)
            placed = Detection(part.label, part.score, Box(100, top, 900, top + height), part.order)
            one.block = Block((placed,), task=one.block.task)
        top = one.block.parts[-1].box.bottom + LINE
    return ReadPage(index=index, size=SIZE, blocks=list(blocks))


def document(*pages: list[ReadBlock], options: MarkdownOptions | None = None) -> Document:
    return document_markdown([page(*blocks, index=index) for index, blocks in enumerate(pages)], options)


def markdown(*blocks: ReadBlock, options: MarkdownOptions | None = None) -> str:
    """The Markdown of one page."""
    return document(list(blocks), options=options).text


def streamed(pages: list[ReadPage], cuts: list[int], options: MarkdownOptions | None = None) -> list[str]:
    """What a writer gives out for texts cut into pieces of so many characters, again and again."""
    writer, given, turn = MarkdownWriter(options), [], 0
    for one in pages:
        for read in one.blocks:
            given.append(writer.begin(one, read))
            rest = read.text
            while rest:
                length = cuts[turn % len(cuts)]
                given.append(writer.push(rest[:length]))
                rest, turn = rest[length:], turn + 1
            given.append(writer.end())
    return [*given, writer.finish()]


def kinds(text: str) -> list[str]:
    """The elements that a parser finds in Markdown, by their tags, outermost ones in order."""
    return [token.tag for token in PARSER.parse(text) if token.level == 0 and token.nesting >= 0]


def shown(text: str) -> str:
    """What a reader of rendered Markdown sees, numbers of items included, with single blanks."""
    parts: list[str] = []
    numbers: list[int | None] = []  # the next one of each open list; None in one with bullets
    for token in PARSER.parse(text):
        if token.type in ("ordered_list_open", "bullet_list_open"):
            numbers.append(int(token.attrs.get("start", 1)) if token.tag == "ol" else None)
        elif token.type in ("ordered_list_close", "bullet_list_close"):
            numbers.pop()
        elif token.type == "list_item_open" and (number := numbers[-1]) is not None:
            parts.append(f"{number}.")
            numbers[-1] = number + 1
        parts.append(_shown(token))
    return re.sub(r"\s+", " ", " ".join(parts)).strip()


def marked(text: str) -> set[str]:
    """The kinds of markup within lines that a parser finds."""
    inner = [child for token in PARSER.parse(text) for child in token.children or []]
    return {token.type for token in inner} - {"text", "softbreak", "text_special"}


def _shown(token: Token) -> str:
    parts = {"softbreak": " ", "hardbreak": " "}
    return "".join(parts.get(child.type, child.content) for child in token.children or []) or token.content
