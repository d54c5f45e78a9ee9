"""A block of a page as PaddleX's results have it, and pages of such blocks as JSON.

Equal to `PaddleOCRVLBlock` and `PaddleOCRVLResult` of PaddleX 3.7 (inference/pipelines/paddleocr_vl/result.py), but for
these faults of theirs:

- Images of a document's pages have the same names where their boxes are the same, and overwrite each other. Here the
  names of a document's images tell the page.
- A stack's group is named by the place of its first block before blocks were joined, which another block may have
  afterwards. Here it is the place in the result.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from layout.figures import put_back
from layout.paddlex.content import content_of
from layout.pages import ReadBlock, ReadPage
from models.detection import Box, Detection

UNORDERED = frozenset(
    "figure_title vision_footnote image chart table header header_image footer footer_image footnote aside_text".split()
)
"""Labels without a place in the reading order."""


@dataclass(kw_only=True)
class ParsedBlock:
    """A box with its text."""

    label: str
    bbox: list[int]  # left, top, right, bottom in pixels of the upright page
    content: str = ""
    group_id: int | None = None  # the block in whose content this one's is, if not in its own
    polygon: list[list[float]] | None = None
    image: str | None = None  # name of its image
    title_level: int | None = None
    global_block_id: int | None = None
    global_group_id: int | None = None

    def as_json(self, place: int, order: int | None) -> dict[str, Any]:
        """PaddleX's fields. `place`: among the page's blocks; `order`: among those with a place in reading order."""
        group = place if self.group_id is None else self.group_id
        ids = {"global_block_id": self.global_block_id, "global_group_id": self.global_group_id}
        return {
            "block_label": self.label,
            "block_content": self.content,
            "block_bbox": self.bbox,
            "block_id": place,
            "block_order": order,
            "group_id": group,
            **{name: value for name, value in ids.items() if value is not None},
            **({} if self.polygon is None else {"block_polygon_points": self.polygon}),
        }


def blocks_as_json(blocks: Sequence[ParsedBlock], ignored: Sequence[str]) -> list[dict[str, Any]]:
    """PaddleX's `parsing_res_list`. `ignored`: labels that its Markdown leaves out, which have no order either."""
    rows, order = [], 0
    for place, block in enumerate(blocks):
        ordered = block.label not in UNORDERED and block.label not in ignored
        order += ordered
        rows.append(block.as_json(place, order if ordered else None))
    return rows


def detections_as_json(detections: Sequence[Detection], labels: Sequence[str]) -> list[dict[str, Any]]:
    """PaddleX's `layout_det_res.boxes`. `labels`: the network's, in its order."""
    return [
        {
            "cls_id": labels.index(found.label) if found.label in labels else -1,
            "label": found.label,
            "score": found.score,
            "coordinate": list(found.box),
            "order": place + 1,
            **({} if found.polygon is None else {"polygon_points": [list(corner) for corner in found.polygon]}),
        }
        for place, found in enumerate(detections)
    ]


def parsed(page: ReadPage, *, several: bool) -> list[ParsedBlock]:
    """The blocks of a page. `several`: the document has more pages, so that names of images tell the page.

    A block that is read as one image with others has the text of all, and the others none.
    """
    blocks: list[ParsedBlock] = []
    for read in page.blocks:
        first = len(blocks)
        stacked = len(read.block.parts) > 1
        blocks += [
            ParsedBlock(
                label=part.label,
                bbox=[int(side) for side in part.box],
                group_id=first if stacked else None,
                polygon=None if part.polygon is None else [list(corner) for corner in part.polygon],
            )
            for part in read.block.parts
        ]
        blocks[first].content = _content(page, read, several)
        if read.image is not None:
            blocks[first].image = image_name(page.index if several else None, read.block.label, read.block.parts[0].box)
    return blocks


def _content(page: ReadPage, read: ReadBlock, several: bool) -> str:
    tags = {token: f'<img src="{figure_name(page, read, token, several)}" alt="Image" />' for token in read.figures}
    return put_back(content_of(read.block.label, read.text), tags)


def images_of(page: ReadPage, *, several: bool) -> dict[str, Any]:
    """Images of a page by name."""
    images: dict[str, Any] = {}
    for read in page.blocks:
        if read.image is not None:
            place = page.index if several else None
            images[image_name(place, read.block.label, read.block.parts[0].box)] = read.image
        for token, figure in read.figures.items():
            images[figure_name(page, read, token, several)] = figure
    return images


def image_name(page: int | None, label: str, box: Box | Sequence[float]) -> str:
    """PaddleX's name of a block's image, in a document with the number of its page. `page`: from 0."""
    left, top, right, bottom = map(int, box)
    prefix = "" if page is None else f"page_{page + 1}_"
    return f"imgs/{prefix}img_in_{label}_box_{left}_{top}_{right}_{bottom}.jpg"


def figure_name(page: ReadPage, table: ReadBlock, token: str, several: bool) -> str:
    """Name of a figure in a table, by the table's box and the figure's token there, such as `[F2]`."""
    name = image_name(page.index if several else None, table.block.label, table.block.parts[0].box)
    return f"{name.removesuffix('.jpg')}_{token.strip('[]')}.jpg"
