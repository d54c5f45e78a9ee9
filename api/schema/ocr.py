"""Requests and answers of /v1/ocr, in Mistral's shapes.

Source: mistralai 3.7, client/models/ocr*.py. Every field of a request works or is refused by name.
"""

import re
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from api.schema.requests import ImageUrl, JsonSchema, Refused, RequestBody, RequestModel, Text

MAX_PAGES = 10_000  # numbers in one request; how many pages a document may have is the server's setting
_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


class DocumentUrl(RequestModel):
    type: Literal["document_url"]
    document_url: Text
    password: Text | None = None  # a PDF's


class ImageDocument(RequestModel):
    type: Literal["image_url"]
    image_url: Annotated[ImageUrl, BeforeValidator(lambda value: {"url": value} if isinstance(value, str) else value)]


class FileDocument(RequestModel):
    type: Literal["file"]
    file_id: Refused = None


def _with_type(document: Any) -> Any:
    """A document without a type has that of its only address."""
    if not isinstance(document, dict) or "type" in document:
        return document
    kinds = [kind for kind in ("document_url", "image_url") if kind in document]
    return {"type": kinds[0], **document} if kinds else document


AnyDocument = Annotated[
    Annotated[DocumentUrl | ImageDocument | FileDocument, Field(discriminator="type")], BeforeValidator(_with_type)
]


def _listed(pages: Any) -> Any:
    """Page numbers of a text such as `0,2-4`."""
    if not isinstance(pages, str):
        return pages
    numbers: list[int] = []
    for part in pages.split(","):
        found = _RANGE.fullmatch(part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if last < first:
            raise ValueError("pages are numbers from 0 and ranges of them, such as 0,2-4")
        if len(numbers) + last - first >= MAX_PAGES:
            raise ValueError(f"these are over {MAX_PAGES} pages")
        numbers += range(first, last + 1)
    return numbers


def _named_once(pages: list[int]) -> list[int]:
    """Each page is read once, so that a request costs no more than its document."""
    repeated = [page for page, times in Counter(pages).items() if times > 1]
    if repeated:
        raise ValueError(f"page {repeated[0]} is named more than once")
    return pages


Pages = Annotated[
    list[Annotated[int, Field(ge=0)]],
    Field(min_length=1, max_length=MAX_PAGES),
    BeforeValidator(_listed),
    AfterValidator(_named_once),
]


class SchemaFormat(RequestModel):
    type: Literal["json_schema"]
    json_schema: JsonSchema


def _a_file_is_no_document(document: Any) -> Any:
    if isinstance(document, FileDocument):
        raise ValueError("files cannot be uploaded here; send an address or a data URI as document_url or image_url")
    return document


class OcrRequest(RequestBody):
    model: Text | None = None
    document: Annotated[AnyDocument, AfterValidator(_a_file_is_no_document)]
    id: Text | None = None  # goes into the log's line on the request
    pages: Pages | None = None
    include_image_base64: bool = False
    image_limit: int | None = Field(default=None, ge=0)
    image_min_size: int | None = Field(default=None, ge=0)  # pixels of width and height
    document_annotation_format: SchemaFormat | None = None
    table_format: Literal["markdown", "html"] | None = None  # tables stand apart from the text
    extract_header: bool = False  # headers stand apart from the text
    extract_footer: bool = False
    include_blocks: bool = False
    confidence_scores_granularity: Literal["word", "page", "block"] | None = None
    bbox_annotation_format: Refused = None
    document_annotation_prompt: Refused = None


class OcrImage(BaseModel):
    id: str
    top_left_x: int  # pixels of the upright page, as all coordinates
    top_left_y: int
    bottom_right_x: int
    bottom_right_y: int
    image_base64: str | None = None  # a data URI
    image_annotation: None = None


class WordConfidence(BaseModel):
    text: str
    confidence: float  # 0..1
    start_index: int  # characters of the page's Markdown before it


class OcrTable(BaseModel):
    id: str
    content: str
    format: Literal["markdown", "html"]


class PageConfidence(BaseModel):
    average_page_confidence_score: float
    minimum_page_confidence_score: float
    word_confidence_scores: list[WordConfidence] | None = None


class BlockConfidence(BaseModel):
    average_content_confidence_score: float | None
    minimum_content_confidence_score: float | None
    block_type_confidence_score: float | None


class OcrPageBlock(BaseModel):
    type: str
    top_left_x: int
    top_left_y: int
    bottom_right_x: int
    bottom_right_y: int
    content: str
    image_id: str | None = None
    table_id: str | None = None
    confidence_scores: BlockConfidence | None = None


class OcrDimensions(BaseModel):
    dpi: int
    height: int
    width: int


class OcrPageObject(BaseModel):
    index: int  # from 0
    markdown: str
    images: list[OcrImage]
    dimensions: OcrDimensions
    tables: list[OcrTable] | None = None
    hyperlinks: list[str] = []
    header: str | None = None
    footer: str | None = None
    confidence_scores: PageConfidence | None = None
    blocks: list[OcrPageBlock] | None = None
    warnings: list[str] = []  # not Mistral's: what was read all the same, and may be wrong


class OcrUsage(BaseModel):
    pages_processed: int
    doc_size_bytes: int | None


class OcrAnswer(BaseModel):
    pages: list[OcrPageObject]
    model: str
    document_annotation: str | None = None
    usage_info: OcrUsage
