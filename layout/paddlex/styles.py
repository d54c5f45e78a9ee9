"""How the contents of blocks are written, by the `model_settings` of their page."""

from collections.abc import Mapping, Sequence
from typing import Any

from layout.paddlex.markdown import Style, formatted
from layout.paddlex.parsed import ParsedBlock


def style_of(settings: Mapping[str, Any], *, pretty: bool, formula_numbers: bool) -> Style:
    return Style(
        pretty=pretty,
        formula_numbers=formula_numbers,
        ignored=settings.get("markdown_ignore_labels", []),
        layout=settings.get("use_layout_detection", False),
        charts=settings.get("use_chart_recognition", False),
        seals=settings.get("use_seal_recognition", False),
        image_texts=settings.get("use_ocr_for_image_block", False),
    )


def format_rows(
    rows: Sequence[dict[str, Any]], blocks: Sequence[ParsedBlock], width: int, settings: Mapping[str, Any]
) -> None:
    """Let the rows of a page so wide have their contents as its Markdown has them."""
    style = style_of(settings, pretty=True, formula_numbers=False)
    for row, block in zip(rows, blocks, strict=True):
        row["block_content"] = formatted(block, width, style)
