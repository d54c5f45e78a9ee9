"""What /layout-parsing answers with: pages as JSON and Markdown, their images as base64."""

import base64
import io
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

from answers.pages import KEPT_SIDE, PageWishes
from api.doubts import warnings_of
from api.reading import Document
from api.schema.layout_parsing import LayoutParsingRequest
from api.serving import Serving
from layout.paddlex.markdown import IGNORED, markdown
from layout.paddlex.parsed import (
    ParsedBlock,
    blocks_as_json,
    detections_as_json,
    images_of,
    parsed,
)
from layout.paddlex.restructuring import restructure
from layout.paddlex.styles import format_rows, style_of
from layout.pages import ReadPage

JPEG_QUALITY = 90
LINE = 3  # pixels
COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2")


class PageImages:
    """Images of each page for people to look at: as it came, and with its boxes."""

    def __init__(self, turned: bool) -> None:
        """`turned`: pages were made upright or flat, which is an image of its own."""
        self.inputs: list[str] = []
        self.outputs: list[dict[str, str]] = []
        self._turned = turned

    def add(self, page: ReadPage, image: Image.Image, upright: Image.Image) -> None:
        self.inputs.append(as_jpeg(image))
        turned = {"preprocessed_img": as_jpeg(upright)} if self._turned else {}
        self.outputs.append({"layout_det_res": as_jpeg(with_boxes(page, upright)), **turned})


def with_boxes(page: ReadPage, image: Image.Image) -> Image.Image:
    """The page's image with the boxes of its blocks, each with its label and its place in reading order."""
    drawn = image.copy()
    pen = ImageDraw.Draw(drawn)
    labels = sorted({found.label for found in page.detections})
    for place, found in enumerate(page.detections, 1):
        colour = COLOURS[labels.index(found.label) % len(COLOURS)]
        corners = list(found.polygon or ())
        if corners:
            pen.line([*corners, corners[0]], fill=colour, width=LINE)
        else:
            pen.rectangle(found.box, outline=colour, width=LINE)
        pen.text((found.box.left + LINE, found.box.top + LINE), f"{place} {found.label}", fill=colour, font_size=14)
    return drawn


def as_jpeg(image: Image.Image) -> str:
    """Base64."""
    shown = image.convert("RGB")
    shown.thumbnail((KEPT_SIDE, KEPT_SIDE))
    file = io.BytesIO()
    shown.save(file, "JPEG", quality=JPEG_QUALITY)
    return base64.b64encode(file.getvalue()).decode()


def settings_of(body: LayoutParsingRequest, wishes: PageWishes) -> dict[str, Any]:
    """PaddleX's `model_settings` of a page."""
    ignored = IGNORED if body.markdown_ignore_labels is None else body.markdown_ignore_labels
    return {
        "use_doc_preprocessor": wishes.orient or wishes.unwarp,
        "use_layout_detection": wishes.layout,
        "use_chart_recognition": body.use_chart_recognition,
        "use_seal_recognition": body.use_seal_recognition,
        "use_ocr_for_image_block": body.use_ocr_for_image_block,
        "format_block_content": body.format_block_content,
        "merge_layout_blocks": body.merge_layout_blocks,
        "markdown_ignore_labels": list(ignored),
        "return_layout_polygon_points": body.layout_shape_mode != "rect",
    }


def whole_result(
    body: LayoutParsingRequest, document: Document, settings: dict[str, Any], images: PageImages, serving: Serving
) -> dict[str, Any]:
    """`result` of /layout-parsing."""
    several = len(document.pages) > 1
    pages = [parsed(page, several=several) for page in document.pages]
    if body.restructure_pages:
        restructure(pages, merge_tables=body.merge_tables, relevel_titles=body.relevel_titles)
    layout = serving.engine.layout
    labels = list(layout.labels) if layout else []
    style = style_of(settings, pretty=body.prettify_markdown, formula_numbers=body.show_formula_number)
    results = []
    for page, blocks in zip(document.pages, pages, strict=True):
        pruned = _pruned(page, blocks, len(pages), settings, labels)
        if warnings := warnings_of(page, document.sources):
            pruned["warnings"] = warnings
        kept = {name: as_jpeg(image) for name, image in images_of(page, several=several).items()}
        shown: dict[str, Any] = {"text": markdown(blocks, page.size[0], style)}
        if body.return_markdown_images:
            shown["images"] = kept
        result: dict[str, Any] = {"prunedResult": pruned, "markdown": shown}
        if body.visualize:
            result |= {"outputImages": images.outputs[page.index], "inputImage": images.inputs[page.index]}
        results.append(result)
    return {"layoutParsingResults": results, "dataInfo": _data_info(document)}


def _data_info(document: Document) -> dict[str, Any]:
    sizes = [{"width": page.size[0], "height": page.size[1]} for page in document.pages]
    kind = document.sources[0].kind
    return {"type": kind, **sizes[0]} if kind == "image" else {"type": kind, "numPages": len(sizes), "pages": sizes}


def _pruned(
    page: ReadPage, blocks: Sequence[ParsedBlock], page_count: int, settings: dict[str, Any], labels: Sequence[str]
) -> dict[str, Any]:
    rows = blocks_as_json(blocks, settings["markdown_ignore_labels"])
    if settings["format_block_content"]:
        format_rows(rows, blocks, page.size[0], settings)
    pruned: dict[str, Any] = {
        "page_count": page_count,
        "width": page.size[0],
        "height": page.size[1],
        "model_settings": settings,
        "parsing_res_list": rows,
    }
    if settings["use_doc_preprocessor"]:
        pruned["doc_preprocessor_res"] = {"angle": page.angle}
    if settings["use_layout_detection"]:
        pruned["layout_det_res"] = {"boxes": detections_as_json(page.detections, labels)}
    errors = [read.error for read in page.blocks if read.error is not None]
    return pruned | ({"errors": errors} if errors else {})  # PaddleX fails as a whole
