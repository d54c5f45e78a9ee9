"""Pages as they are read: the blocks of each with their text, whatever it is then made into.

Knows blocks, texts and images; neither how blocks are read nor any form of an answer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

from layout.blocks import Block
from models.detection import Detection


@dataclass(kw_only=True)
class ReadBlock:
    """A block with what was read in it."""

    block: Block
    text: str = ""  # as the model wrote it, repeats of a loop cut off; empty for a block that is kept as an image
    confidence: float | None = None  # 0..1; None for a block without text
    image: Image.Image | None = None  # the crop, of a block that is kept as an image
    figures: dict[str, Image.Image] = field(default_factory=dict)  # token in a table's text -> the image it stands for
    error: str | None = None  # why the block, or some of its lines, could not be read; its text is what was
    cut: Literal["length", "repetition"] | None = None  # why its text ends early: a limit on tokens, or a loop


@dataclass(kw_only=True)
class ReadPage:
    """A page with its blocks in reading order."""

    index: int  # place in its document, from 0
    size: tuple[int, int]  # width and height of the upright page in pixels, which all boxes are in
    angle: int = 0  # degrees, counter-clockwise, by which the page was turned upright
    detections: Sequence[Detection] = ()  # what `layout.boxes` kept, before blocks were made of it
    blocks: list[ReadBlock] = field(default_factory=list)
    jpeg: bytes | None = None  # the upright page as a JPEG, where it is to be shown
    error: str | None = None  # why the layout network could not look at it; its blocks were found by ink alone

    @property
    def confidence(self) -> float | None:
        """Geometric mean of its blocks' confidences, each as often as its text has characters; None without any."""
        read = [(len(block.text), block.confidence) for block in self.blocks if block.confidence and block.text]
        chars = sum(length for length, _ in read)
        return math.exp(sum(length * math.log(own) for length, own in read) / chars) if chars else None
