"""A page and what a layout network found there -> its blocks in reading order; the room's one entrance.

Knows pixels only to find ink. Images of blocks are cut out by `layout.crops`.
"""

from collections.abc import Sequence

from PIL import Image

from layout.blocks import Block, blocks_from, without_overlaps
from layout.boxes import Rules, select
from layout.fit import fitted
from layout.ink import find_ink
from layout.options import LayoutOptions
from layout.segment.page import segmented
from layout.uncovered import with_uncovered
from models.detection import Detection


def blocks_of_page(
    page: Image.Image, detections: Sequence[Detection] | None, rules: Rules, options: LayoutOptions
) -> tuple[list[Detection], list[Block]]:
    """The detections that are kept, and the blocks made of them, of an upright RGB page.

    Without a network `detections` is None: the page's ink tells of its blocks. With `options.uncovered_ink` there may
    be blocks that no detection is behind, also where there are no detections.
    """
    needed = detections is None or options.whole_glyphs or options.uncovered_ink
    ink = find_ink(page) if needed else None  # found once for all steps
    if detections is None:
        assert ink is not None
        detections = segmented(ink, page.size)
    found = select(detections, page.size, rules, options)
    kept = without_overlaps(found)
    if ink is not None:
        kept = fitted(kept, ink, page.size) if options.whole_glyphs else kept
        kept = with_uncovered(kept, ink, page.size) if options.uncovered_ink else kept
    return found, blocks_from(kept, found, options)
