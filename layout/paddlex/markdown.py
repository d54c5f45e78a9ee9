"""Markdown in PaddleX's style from the blocks of a page.

Equal to `MarkdownConverter` of PaddleX 3.7 with the functions that its PaddleOCR-VL pipelines give it
(inference/common/result/converter/, inference/pipelines/paddleocr_vl/result.py).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from layout.paddlex.parsed import ParsedBlock

IGNORED = ("number", "footnote", "header", "header_image", "footer", "footer_image", "aside_text")
"""Labels that PaddleX's pipelines leave out of Markdown by default."""

Writer: TypeAlias = Callable[[ParsedBlock], str]

_CHINESE = "一二三四五六七八九十百千万亿零壹贰叁肆伍陆柒捌玖拾"
_NUMBERED = re.compile(
    rf"^\s*((?:[1-9][0-9]*(?:\.[1-9][0-9]*)*[\.、]?|[\(\（](?:[1-9][0-9]*|[{_CHINESE}]+)[\)\）]|[{_CHINESE}]+[、\.]?|"
    r"(?:I|II|III|IV|V|VI|VII|VIII|IX|X)(?:\.|\s)))(\s*)(.*)$"
)


@dataclass(frozen=True, kw_only=True)
class Style:
    """PaddleX's settings that change its Markdown; names are those of its requests, in our spelling."""

    pretty: bool = True  # HTML that centres what is no text
    formula_numbers: bool = False  # a formula is written with the number that follows it
    ignored: Sequence[str] = IGNORED  # labels to leave out
    layout: bool = True  # the page was cut into blocks
    charts: bool = False  # charts are read
    seals: bool = False
    image_texts: bool = False  # texts in images are read


def markdown(blocks: Sequence[ParsedBlock], width: int, style: Style) -> str:
    """The page's Markdown. `width`: pixels of the page, of which images take their share."""
    writers = _writers(width, style)
    parts = []
    for place, block in enumerate(blocks):
        number = next(
            (other.content for other in blocks[place + 1 : place + 2] if other.label == "formula_number"), None
        )
        if style.formula_numbers and number is not None and block.label in ("display_formula", "formula"):
            body = block.content.replace("$$", "")
            block = replace(block, content=f"$${body} \\tag*{{{number}}}$$")
        if block.label in writers:
            parts.append(writers[block.label](block))
    joined = ""
    for part in parts:  # blocks before the first text leave no blank lines
        joined += f"\n\n{part}" if joined else part
    return joined


def formatted(block: ParsedBlock, width: int, style: Style) -> str:
    """The block's content as PaddleX's `formatBlockContent` has it in JSON."""
    writer = _writers(width, replace(style, pretty=True)).get(block.label)
    return writer(block) if writer else block.content


def _writers(width: int, style: Style) -> Mapping[str, Writer]:
    """How each label is written; labels that are not named have no place in Markdown."""
    title = _centred if style.pretty else _plain
    table = _pretty_table if style.pretty else _bare_table
    image = _image_writer(width, style.pretty, style.image_texts)
    seal = _image_writer(width, style.pretty, style.seals) if style.layout else title
    writers: dict[str, Writer] = {
        "doc_title": lambda block: _on_one_line(f"# {block.content}"),
        "paragraph_title": _heading,
        **dict.fromkeys(("abstract_title", "reference_title", "content_title"), _numbered_heading),
        **dict.fromkeys(("table_title", "figure_title", "chart_title"), title),
        **dict.fromkeys(("vision_footnote", "text", "ocr", "vertical_text", "reference_content"), _paragraphs),
        "abstract": lambda block: _with_heading(block.content, ("摘要", "abstract"), " ", "\n"),
        "reference": lambda block: _with_heading(block.content, ("参考文献", "references"), "\n", ""),
        "content": lambda block: block.content.replace("-\n", "  \n").replace("\n", "  \n"),
        **dict.fromkeys(("image", "header_image", "footer_image"), image),
        "chart": _chart if style.charts else image,
        **dict.fromkeys(("formula", "display_formula", "inline_formula", "spotting"), _plain),
        "table": table,
        "algorithm": lambda block: block.content.strip("\n"),
        "seal": seal,
        **dict.fromkeys(("number", "footnote", "header", "footer", "aside_text"), _plain),
    }
    return {label: writer for label, writer in writers.items() if label not in style.ignored}


def _plain(block: ParsedBlock) -> str:
    return block.content


def _paragraphs(block: ParsedBlock) -> str:
    return block.content.replace("\n\n", "\n").replace("\n", "\n\n")


def _on_one_line(text: str) -> str:
    return text.replace("-\n", "").replace("\n", " ")


def _in_div(text: str) -> str:
    return f'<div style="text-align: center;">{text}</div>\n'


def _centred(block: ParsedBlock) -> str:
    return _in_div(_on_one_line(block.content))


def _heading(block: ParsedBlock) -> str:
    if block.title_level is None:
        return _numbered_heading(block)
    return _on_one_line(f"#{'#' * block.title_level} {block.content}")


def _numbered_heading(block: ParsedBlock) -> str:
    """A heading whose level is that of its number."""
    title = block.content
    if found := _NUMBERED.match(title):
        title = f"{found[1].strip()} {found[3].lstrip()}"
    title = title.rstrip(".")
    return _on_one_line(f"#{'#' * (title.count('.') + 1)} {title}")


def _with_heading(text: str, names: Sequence[str], splitter: str, after: str) -> str:
    """The text whose first piece becomes a heading if it is one of `names`."""
    pieces = text.split(splitter)
    first = next((place for place, piece in enumerate(pieces) if piece.strip()), None)
    if first is not None and pieces[first].lower() in names:
        pieces[first] = f"## {pieces[first]}{after}"
    return splitter.join(pieces)


def _image_writer(width: int, pretty: bool, with_text: bool) -> Writer:
    def write(block: ParsedBlock) -> str:
        text = f"\n\n{block.content}\n\n" if with_text else ""
        if not pretty:
            return f"![]({_on_one_line(block.image)}){text}" if block.image else ""
        tag = ""
        if block.image is not None:
            share = int((block.bbox[2] - block.bbox[0]) / width * 100)
            tag = f'<img src="{_on_one_line(block.image)}" alt="Image" width="{share}%" />{text}'
        return _in_div(tag if with_text else _on_one_line(tag))

    return write


def _pretty_table(block: ParsedBlock) -> str:
    cell = "style='text-align: center; word-wrap: break-word;'"
    table = "style='margin: auto; word-wrap: break-word;'"
    html = block.content.replace("<table>", f"<table border=1 {table}>")
    return "\n" + html.replace("<th>", f"<th {cell}>").replace("<td>", f"<td {cell}>")


def _bare_table(block: ParsedBlock) -> str:
    html = f"\n{block.content}"
    for tag in ("<html>", "</html>", "<body>", "</body>"):
        html = html.replace(tag, "")
    return f"\n{html}"


def _chart(block: ParsedBlock) -> str:
    header, *rows = block.content.split("\n")
    head = "".join(f"<th style='text-align: center;'>{cell.strip()}</th>" for cell in header.split("|"))
    body = ""
    for row in rows:
        cells = "".join(f"<td style='text-align: center;'>{cell.strip()}</td>" for cell in row.split("|"))
        body += f"    <tr>{cells}</tr>\n"
    return (
        "<table border=1 style='margin: auto; width: max-content;'>\n"
        f"  <thead><tr>{head}</tr></thead>\n  <tbody>\n{body}  </tbody>\n</table>"
    )
