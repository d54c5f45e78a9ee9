"""Seconds that layout takes for a page, apart from all else: its boxes, blocks made of them, their images."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from layout.boxes import lowest_threshold, rules_of
from layout.options import LayoutOptions
from layout.page import blocks_of_page
from layout.parts import images_of
from models.detection import SEGMENTATION
from models.layout.network import load_network
from models.paddleocr_vl.images import MAX_ASPECT
from models.protocol import WHOLE_BLOCKS, BlockLimits

OPTIONS = LayoutOptions(whole_glyphs=True, uncovered_ink=True)  # as chat has them


def layout_seconds(
    folder: Path | None, pages: Sequence[Image.Image], limits: BlockLimits = WHOLE_BLOCKS
) -> list[float]:
    """For each page, after one that does not count. `folder`: of the layout checkpoint; None: by ink alone.

    `limits`: of the checkpoint that reads the blocks.
    """
    network = folder and load_network(folder, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    rules = rules_of(network.model_type if network else SEGMENTATION)
    threshold = lowest_threshold(rules, OPTIONS)
    seconds = []
    for page in [pages[0], *pages]:
        began = time.monotonic()
        found = network.find([page], threshold)[0] if network else None
        _, blocks = blocks_of_page(page, found, rules, OPTIONS)
        for block in blocks:
            if block.task is not None:
                images_of(page, block, MAX_ASPECT, limits)
        seconds.append(time.monotonic() - began)
    return seconds[1:]
