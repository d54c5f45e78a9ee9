"""Markdown -> plain text: what it says, without its signs. Cells are parted by tabs, blocks by blank lines."""

from collections.abc import Iterator

from bs4 import BeautifulSoup
from markdown_it import MarkdownIt
from markdown_it.token import Token

_PARSER = MarkdownIt("commonmark").enable("table")
_CELLS = {"td_close", "th_close"}


def plain_text(markdown: str) -> str:
    return "".join(_pieces(_PARSER.parse(markdown))).replace("\t\n", "\n").strip() + "\n"


def _pieces(tokens: list[Token]) -> Iterator[str]:
    in_table = False
    for token in tokens:
        if token.type in ("table_open", "table_close"):
            in_table = token.type == "table_open"
        if token.type == "inline":
            yield "".join(_inline(token.children or []))
            yield "" if in_table else "\n\n"
        elif token.type in _CELLS:
            yield "\t"
        elif token.type == "tr_close" or token.type == "table_close":
            yield "\n"
        elif token.type in ("fence", "code_block"):
            yield f"{token.content}\n"
        elif token.type == "html_block":
            yield f"{_html(token.content)}\n\n"


def _inline(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type in ("softbreak", "hardbreak"):
            yield "\n"
        elif token.type in ("text", "code_inline"):
            yield token.content
        elif token.content.startswith("<br"):
            yield " "


def _html(source: str) -> str:
    soup = BeautifulSoup(source, "html.parser", string_containers={})  # what stands in script is text of the page, too
    rows = soup.find_all("tr")
    if not rows:
        return soup.get_text(" ", strip=True)
    return "\n".join("\t".join(cell.get_text(" ", strip=True) for cell in row.find_all(["td", "th"])) for row in rows)
