"""What /restructure-pages makes of pages that /layout-parsing has answered with, and that come back."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from api.errors import invalid
from api.schema.layout_parsing import RestructureRequest, SentPage
from layout.paddlex.markdown import markdown
from layout.paddlex.parsed import ParsedBlock, blocks_as_json, image_name
from layout.paddlex.restructuring import restructure
from layout.paddlex.styles import format_rows, style_of

LARGEST_SIDE = 1_000_000  # pixels
_PAGE = re.compile(r"page_\d+_")  # in the name of an image of a document


def restructured(body: RestructureRequest, *, formatted_rows: bool = False) -> list[dict[str, Any]]:
    """`layoutParsingResults` of /restructure-pages. Raises ApiError for a page that is none of /layout-parsing's.

    `formatted_rows`: contents of blocks are formatted as in the Markdown, which they were not when they came.
    """
    pages = [_blocks_of(place, page) for place, page in enumerate(body.pages)]
    restructure(pages, merge_tables=body.merge_tables, relevel_titles=body.relevel_titles)
    groups = [list(range(len(pages)))] if body.concatenate_pages else [[place] for place in range(len(pages))]
    return [_joined(body, pages, group, formatted_rows) for group in groups]


def _joined(
    body: RestructureRequest, pages: Sequence[list[ParsedBlock]], group: Sequence[int], formatted_rows: bool
) -> dict[str, Any]:
    """The result of the pages at the places of `group`, put together as one."""
    blocks = [block for place in group for block in pages[place]]
    sent = [body.pages[place] for place in group]
    pruned = {name: value for name, value in sent[0].pruned_result.items() if name not in ("input_path", "page_index")}
    settings = pruned.get("model_settings", {})
    pruned["parsing_res_list"] = rows = blocks_as_json(blocks, settings.get("markdown_ignore_labels", []))
    if formatted_rows:
        format_rows(rows, blocks, pruned["width"], settings)
    if body.concatenate_pages:
        pruned["page_count"] = len(group)
        for name in ("layout_det_res", "doc_preprocessor_res"):
            if name in pruned:
                pruned[name] = [page.pruned_result.get(name) for page in sent]
    style = style_of(settings, pretty=body.prettify_markdown, formula_numbers=body.show_formula_number)
    shown: dict[str, Any] = {"text": markdown(blocks, pruned["width"], style)}
    if body.return_markdown_images:
        shown["images"] = {name: image for page in sent for name, image in (page.markdown_images or {}).items()}
    return {"prunedResult": pruned, "markdown": shown}


def _blocks_of(place: int, page: SentPage) -> list[ParsedBlock]:
    """The blocks of a page that comes back. Raises ApiError."""
    result, param = page.pruned_result, f"pages.{place}.prunedResult"
    rows, width = result.get("parsing_res_list"), result.get("width")
    if not isinstance(rows, list) or not isinstance(width, int) or not _is_side(width) or width < 1:
        raise invalid(f"{param} must be one of /layout-parsing, with parsing_res_list and width", param)
    settings = result.get("model_settings", {})
    ignored = settings.get("markdown_ignore_labels", []) if isinstance(settings, dict) else None
    if not isinstance(ignored, list):
        raise invalid(f"{param}.model_settings must be an object, with a list of markdown_ignore_labels", param)
    images = {_PAGE.sub("", name, count=1).removeprefix("imgs/"): name for name in page.markdown_images or {}}
    return [_block(row, settings, images, f"{param}.parsing_res_list.{i}") for i, row in enumerate(rows)]


def _is_side(value: Any) -> bool:
    """Whether it is a number of pixels."""
    return type(value) in (int, float) and -LARGEST_SIDE <= value <= LARGEST_SIDE


def _block(row: Any, settings: Mapping[str, Any], images: Mapping[str, str], param: str) -> ParsedBlock:
    """`images`: names of the page's images by what they are called on a page that is alone."""
    row = row if isinstance(row, dict) else {}
    label, content, box = (row.get(name) for name in ("block_label", "block_content", "block_bbox"))
    if not isinstance(label, str) or not isinstance(content, str):
        raise invalid(f"{param} must have block_label and block_content as text", param)
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_side, box)):
        raise invalid(f"{param} must have a block_bbox of four numbers: left, top, right, bottom in pixels", param)
    left, top, right, bottom = box = [int(side) for side in box]
    block = ParsedBlock(
        label=label,
        bbox=box,
        content=re.sub(r"^#+\s", "", content),
        group_id=row.get("group_id"),
        polygon=row.get("block_polygon_points"),
    )
    kept = label in ("image", "seal") or (label == "chart" and not settings.get("use_chart_recognition", False))
    if kept:
        name = image_name(None, label, (left, top, right, bottom)).removeprefix("imgs/")
        block.image = images.get(name, f"imgs/{name}")
    return block
