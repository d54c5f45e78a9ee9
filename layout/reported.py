"""Pages as the report of a chat has them, made into pages again, so that they can be put together elsewhere.

The report is `ocr.pages` and `ocr.blocks` with `raw`, which a request asks for by `"ocr": {"raw": true}`.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from layout.blocks import Block
from layout.pages import ReadBlock, ReadPage
from layout.tasks import task_of
from models.detection import Box, Detection


def read_page(page: Mapping[str, Any], blocks: Sequence[Mapping[str, Any]]) -> ReadPage:
    """A page with its blocks. `page`: with the number in the whole document, from 1."""
    return ReadPage(
        index=page["page"] - 1,
        size=(page["width"], page["height"]),
        angle=page["angle"],
        blocks=[_read_block(block) for block in blocks],
        error=page["error"],
    )


def _read_block(block: Mapping[str, Any]) -> ReadBlock:
    label, raw = block["label"], block["raw"]
    boxes = block["parts"] or [block["box"]]
    return ReadBlock(
        block=Block(
            parts=tuple(Detection(label, 0.0, Box(*box), block["order"]) for box in boxes),
            task=task_of(label, read=(label,)) if raw["read"] else None,
        ),
        text=raw["text"],
        confidence=block["confidence"],
        image=None if raw["image"] is None else _image(raw["image"]),
        figures={token: _image(uri) for token, uri in raw["figures"].items()},
        error=block["error"],
        cut=block["cut"],
    )


def _image(uri: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    image.load()
    return image
