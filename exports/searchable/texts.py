"""What was read in a document -> the texts that stand under its pages."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exports.plain import plain_text
from exports.searchable.order import Box, Page, Text
from modes.tables import parse

VERTICAL = "vertical_text"  # the label of blocks whose lines run down
WHOLE = (0.0, 0.0, 1.0, 1.0)

Facts = Mapping[str, Any]


def pages_of(pages: Sequence[Facts], blocks: Sequence[Facts], markdown: str) -> Iterator[Page]:
    """Pages with their texts.

    `pages`: page, width, height, angle, and `content` where a mode finds no blocks. `blocks`: page, label, box, parts,
    text: [start, end) in the Markdown, and content: the text as the model wrote it.
    """
    shared = Counter(str(block["text"]) for block in blocks)
    for page in pages:
        width, height = page.get("width") or 1, page.get("height") or 1
        own = [block for block in blocks if block["page"] == page["page"]]
        texts = [
            Text(
                text=plain_text(_markdown_of(block, markdown, alone=shared[str(block["text"])] == 1)),
                boxes=[_shares(box, width, height) for box in block["parts"] or [block["box"]]],
                vertical=block["label"] == VERTICAL,
            )
            for block in own
        ]
        if not own and page.get("content"):
            texts = [Text(text=plain_text(page["content"]), boxes=[WHOLE])]
        yield Page(
            number=page["page"],
            width=width,
            height=height,
            angle=page.get("angle") or 0,
            texts=[text for text in texts if text.text.strip()],
        )


def _markdown_of(block: Facts, markdown: str, *, alone: bool) -> str:
    """Markdown of a block; what the model wrote, if the document's Markdown leaves it out or joins it to others."""
    if block["text"] is not None and alone:
        return markdown[slice(*block["text"])]
    content = str(block["content"])
    return "\n".join(parse(content).markdown_lines()) if block["label"] == "table" else content


def _shares(box: Sequence[float], width: float, height: float) -> Box:
    left, top, right, bottom = box
    return left / width, top / height, right / width, bottom / height
