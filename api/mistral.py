"""A document that was read, in the shape of Mistral's /v1/ocr."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Literal

from answers.document import BETWEEN
from answers.transcript import Transcript
from api.doubts import warnings_of
from api.paddlex import as_jpeg
from api.reading import Document
from api.schema.ocr import (
    BlockConfidence,
    OcrAnswer,
    OcrDimensions,
    OcrImage,
    OcrPageBlock,
    OcrPageObject,
    OcrRequest,
    OcrTable,
    OcrUsage,
    PageConfidence,
    WordConfidence,
)
from layout.markdown.document import Document as PageText
from layout.markdown.document import pages_markdown
from layout.markdown.options import MarkdownOptions
from layout.pages import ReadBlock, ReadPage
from models.detection import Box

Running = Literal["header", "footer"]

TYPES = {
    **dict.fromkeys(("doc_title", "paragraph_title"), "title"),
    **dict.fromkeys(("figure_title", "vision_footnote"), "caption"),
    **dict.fromkeys(("display_formula", "inline_formula", "formula", "formula_number"), "equation"),
    **dict.fromkeys(("image", "header_image", "footer_image", "chart", "seal"), "image"),
    **dict.fromkeys(("reference", "reference_content"), "references"),
    **{name: name for name in ("table", "aside_text", "header", "footer")},
    "algorithm": "code",
}
"""Mistral's type of a block by label; all others are text, or a list where they begin as one."""

DPI = {"pdf": 144, "tiff": 72, "image": 72}  # nominal: that of an A4 page as PDFs are drawn; pixels as points
_LIST = re.compile(r"(?:[-*+]|\d+[.)]) ")
_FIGURE = re.compile(r'!\[[^\]\n]*\]\((page-[^)\s]+\.png)\)|<img src="(page-[^"]+\.png)"[^>]*>')


@dataclass
class Counts:
    """How many images and tables of the document have a name."""

    images: int = 0
    tables: int = 0


def answer_of(body: OcrRequest, document: Document, model: str) -> OcrAnswer:
    """The whole answer."""
    running = [_running(body, page) for page in document.pages]
    pages = [
        _without(page, [*kept["header"], *kept["footer"]]) for page, kept in zip(document.pages, running, strict=True)
    ]
    options = MarkdownOptions(images="link", running=True, table_format=body.table_format or "auto")
    texts = pages_markdown(pages, options)
    places = _places(document.pages)
    counts = Counts()
    numbers = body.pages or list(range(len(pages)))
    answers = []
    for number, page, text, kept in zip(numbers, pages, texts, running, strict=True):
        made = PageAnswer(body=body, page=page, text=text, counts=counts, transcript=document.transcript, places=places)
        made.write()
        answers.append(
            OcrPageObject(
                index=number,
                markdown=made.markdown,
                images=made.images,
                dimensions=OcrDimensions(dpi=DPI[document.sources[0].kind], height=page.size[1], width=page.size[0]),
                tables=made.tables if body.table_format else None,
                header=_joined(kept["header"]) if body.extract_header else None,
                footer=_joined(kept["footer"]) if body.extract_footer else None,
                confidence_scores=made.confidence(),
                blocks=made.blocks if body.include_blocks else None,
                warnings=warnings_of(page, document.sources),
            )
        )
    return OcrAnswer(
        pages=answers,
        model=model,
        document_annotation=None if document.filled is None else document.filled.content,
        usage_info=OcrUsage(
            pages_processed=len(answers),
            doc_size_bytes=document.sources[0].bytes if document.sources[0].page else None,
        ),
    )


def _running(body: OcrRequest, page: ReadPage) -> dict[Running, list[ReadBlock]]:
    """The blocks of headers and footers that are to stand apart from the text; a page number belongs to the nearer."""
    kept: dict[Running, list[ReadBlock]] = {"header": [], "footer": []}
    for block in page.blocks:
        if not block.block.running:
            continue
        box = block.block.parts[0].box
        above = box.top + box.bottom < page.size[1]
        place: Running = (
            "header"
            if block.block.label.startswith("header") or (above and block.block.label == "number")
            else "footer"
        )
        if body.extract_header if place == "header" else body.extract_footer:
            kept[place].append(block)
    return kept


def _without(page: ReadPage, blocks: Sequence[ReadBlock]) -> ReadPage:
    return replace(page, blocks=[block for block in page.blocks if not any(block is one for one in blocks)])


def _joined(blocks: Sequence[ReadBlock]) -> str:
    return "\n".join(block.text.strip() for block in blocks if block.text.strip())


def _places(pages: Sequence[ReadPage]) -> dict[int, tuple[int, int]]:
    """The place of each block's text in the transcript, by the block's id."""
    places, end = {}, 0
    for block in (block for page in pages for block in page.blocks):
        start = end + (len(BETWEEN) if end and block.text else 0)
        end = start + len(block.text)
        places[id(block)] = start, end
    return places


@dataclass(kw_only=True)
class PageAnswer:
    """The parts of one page's answer."""

    body: OcrRequest
    page: ReadPage
    text: PageText
    counts: Counts
    transcript: Transcript
    places: dict[int, tuple[int, int]]  # `_places`
    markdown: str = ""
    images: list[OcrImage] = field(default_factory=list)
    tables: list[OcrTable] = field(default_factory=list)
    blocks: list[OcrPageBlock] = field(default_factory=list)

    def write(self) -> None:
        """Fill in the text, its images and tables, and the blocks."""
        spans = {span.block: span for span in self.text.spans}
        contents: dict[int, str] = {}
        end = 0
        for place in sorted(spans, key=lambda place: spans[place].start):
            span, block = spans[place], self.page.blocks[place]
            content = self._with_images(self.text.text[span.start : span.end], block)
            contents[place] = content
            shown = content
            if self.body.table_format is not None and block.block.label == "table" and span.start >= end:
                shown = self._apart(content)
            if span.start >= end:
                self.markdown += self.text.text[end : span.start] + shown
                end = span.end
        self.markdown += self.text.text[end:]
        if self.body.include_blocks:
            self.blocks = [self._block(block, contents.get(i)) for i, block in enumerate(self.page.blocks)]

    def _with_images(self, content: str, block: ReadBlock) -> str:
        """The block's Markdown with Mistral's names of images, or without those that are not wanted."""

        def named(found: re.Match[str]) -> str:
            image = self.text.images.get(found[1] or found[2])
            if image is None:  # the page itself has such a text
                return found[0]
            least, most = self.body.image_min_size, self.body.image_limit
            if (least is not None and min(image.size) < least) or (most is not None and self.counts.images >= most):
                return ""
            name = f"img-{self.counts.images}.jpeg"
            self.counts.images += 1
            left, top, right, bottom = _edges(block)
            data = f"data:image/jpeg;base64,{as_jpeg(image)}" if self.body.include_image_base64 else None
            self.images.append(
                OcrImage(
                    id=name,
                    top_left_x=left,
                    top_left_y=top,
                    bottom_right_x=right,
                    bottom_right_y=bottom,
                    image_base64=data,
                )
            )
            return f"![{name}]({name})"

        return _FIGURE.sub(named, content)

    def _apart(self, content: str) -> str:
        """A link to a table that stands apart."""
        assert self.body.table_format is not None
        suffix = "md" if self.body.table_format == "markdown" else "html"
        name = f"tbl-{self.counts.tables}.{suffix}"
        self.counts.tables += 1
        self.tables.append(OcrTable(id=name, content=content, format=self.body.table_format))
        return f"[{name}]({name})"

    def _block(self, read: ReadBlock, content: str | None) -> OcrPageBlock:
        shown = read.text if content is None else content
        kind = TYPES.get(read.block.label, "list" if _LIST.match(shown) else "text")
        left, top, right, bottom = _edges(read)
        images = [image.id for image in self.images if image.id in shown]
        tables = [table.id for table in self.tables if table.content == shown]
        return OcrPageBlock(
            type=kind,
            top_left_x=left,
            top_left_y=top,
            bottom_right_x=right,
            bottom_right_y=bottom,
            content=shown,
            image_id=next(iter(images), "") if kind == "image" else None,
            table_id=next(iter(tables), None) if kind == "table" else None,
            confidence_scores=self._block_confidence(read),
        )

    def _block_confidence(self, read: ReadBlock) -> BlockConfidence | None:
        if self.body.confidence_scores_granularity != "block":
            return None
        values = [value for _, value in self._words(read)]
        return BlockConfidence(
            average_content_confidence_score=round(fmean(values), 6) if values else None,
            minimum_content_confidence_score=round(min(values), 6) if values else None,
            block_type_confidence_score=round(read.block.parts[0].score, 6),
        )

    def confidence(self) -> PageConfidence | None:
        """The page's confidence over its words, and that of each word where it is asked for; None without words."""
        words = [word for read in self.page.blocks for word in self._words(read)]
        if self.body.confidence_scores_granularity is None or not words:
            return None
        values = [value for _, value in words]
        scores: list[WordConfidence] | None = None
        if self.body.confidence_scores_granularity == "word":
            scores, end = [], 0
            for text, value in words:
                start = self.markdown.find(text, end)
                if start >= 0:  # Markdown may have joined or escaped it
                    end = start + len(text)
                scores.append(
                    WordConfidence(text=text, confidence=round(value, 6), start_index=max(start, end - len(text), 0))
                )
        return PageConfidence(
            average_page_confidence_score=round(fmean(values), 6),
            minimum_page_confidence_score=round(min(values), 6),
            word_confidence_scores=scores,
        )

    def _words(self, read: ReadBlock) -> Iterator[tuple[str, float]]:
        """Words of a block as the model wrote them, with their confidence."""
        for found in re.finditer(r"\S+", read.text):
            start = self.places[id(read)][0] + found.start()
            value = self.transcript.confidence_at(start, start + len(found[0]))
            if value is not None:
                yield found[0], value


def _edges(read: ReadBlock) -> tuple[int, int, int, int]:
    """Around all boxes of a block."""
    boxes: list[Box] = [part.box for part in read.block.parts]
    return (
        round(min(box.left for box in boxes)),
        round(min(box.top for box in boxes)),
        round(max(box.right for box in boxes)),
        round(max(box.bottom for box in boxes)),
    )
