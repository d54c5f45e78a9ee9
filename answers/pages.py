"""Pages before they are read: opened, turned upright, and cut into the images of their blocks.

Nothing of a page stays but what is still to be read of it, so that a long document takes the memory of a few pages.
"""

import asyncio
import io
from dataclasses import dataclass, field, replace

from PIL import Image

from engine.engine import Engine
from engine.errors import GenerationFailed
from engine.handles import Hold
from images.loading import decoded_bytes
from images.source import Detail, ImageSource
from layout.blocks import Block
from layout.boxes import Rules, lowest_threshold, rules_of
from layout.crops import crop, figures_of
from layout.options import LayoutOptions
from layout.page import blocks_of_page
from layout.pages import ReadBlock, ReadPage
from layout.parts import images_of
from layout.tasks import BOUNDS, Task, task_of
from models.detection import SEGMENTATION, Box, Detection
from models.paddleocr_vl.images import MAX_ASPECT
from models.protocol import WHOLE_BLOCKS

WHOLE = "ocr"  # PaddleX's label of a page that is one block

SHOWN_SIDE = 1400  # pixels of a page that is shown beside its text
KEPT_SIDE = 2000  # pixels of images that stay until the answer ends; source: PaddleX's `max_output_img_size`

PAGE_SIDE, PAGE_PIXELS = 700, 500_000  # the longer side's, and all; pages are scanned and drawn at more
PAGE_ASPECT = 1.8  # longer side over shorter; paper has up to 1.65 (legal), photographs of it up to 16:9


@dataclass(frozen=True, kw_only=True)
class PageWishes:
    """How pages are cut into blocks, and what is kept of them."""

    layout: bool  # a layout network finds the blocks; else each page is one block
    options: LayoutOptions = field(default_factory=LayoutOptions)
    label: str = WHOLE  # without layout, the page's own; it decides the prompt
    orient: bool = False  # pages are turned upright
    unwarp: bool = False  # pages that lay curved before a camera are flattened
    keep_images: bool = False  # blocks that are not read keep their images, and tables those of their figures
    shown: bool = False  # each page is kept as a JPEG, for the client to show beside its text
    never_unread: bool = False  # a page of which no block would be read is read as one block


@dataclass
class BlockImage:
    """A block that is to be read, or some of its lines, with the image that the model will see."""

    read: ReadBlock
    task: Task
    image: Image.Image
    detail: Detail  # asked for its page

    @property
    def bytes(self) -> int:
        return decoded_bytes(self.image)


@dataclass
class PreparedPage:
    """A page whose blocks are known; those to be read wait with their images, one or several each."""

    page: ReadPage
    waiting: list[BlockImage] = field(default_factory=list)  # in reading order


class Ledger:
    """Bytes of a document's images outside of the engine, counted as those that wait inside are."""

    def __init__(self, engine: Engine, hold: Hold) -> None:
        self._engine, self._hold = engine, hold
        self._held = 0

    def reserve(self, count: int) -> None:
        """Raises QueueFull, unless the answer has begun."""
        self._engine.admission.reserve_bytes(self._hold, count)
        self._held += count

    def release(self, count: int) -> None:
        count = min(count, self._held)  # nothing is left once it is closed
        self._engine.admission.release_bytes(self._hold, count)
        self._held -= count

    def close(self) -> None:
        self.release(self._held)


def looks_like_page(source: ImageSource) -> bool:
    """Whether an image is likely a whole page: one of a document, or large and shaped like paper.

    The ink on it says nothing: a page may be blank or black. An image that only looks like a page loses nothing, as
    what no box covers is read all the same.
    """
    if source.page:
        return True
    width, height = source.open().size
    large = max(width, height) >= PAGE_SIDE or width * height >= PAGE_PIXELS
    return large and max(width, height) <= PAGE_ASPECT * min(width, height)


def _kept_bytes(page: ReadPage) -> int:
    """Bytes of the images that stay until the answer ends."""
    images = [image for block in page.blocks for image in (block.image, *block.figures.values())]
    return len(page.jpeg or b"") + sum(decoded_bytes(image) for image in images if image is not None)


def jpeg_of(image: Image.Image) -> bytes:
    """A page as a JPEG, small enough to be sent beside its text."""
    small = image.copy()
    small.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=80)
    return data.getvalue()


def _kept(image: Image.Image) -> Image.Image:
    """An image as large as it is returned at most: those of a scanned document would take gigabytes."""
    image.thumbnail((KEPT_SIDE, KEPT_SIDE))
    return image


class PageOpener:
    """Prepares the pages of one document, each when it is asked for."""

    def __init__(self, *, engine: Engine, hold: Hold, wishes: PageWishes, ledger: Ledger) -> None:
        self._engine, self._hold, self._wishes, self._ledger = engine, hold, wishes, ledger

    async def prepare(self, index: int, source: ImageSource) -> PreparedPage:
        """The page at `index` of its document. Raises ImageError, EngineError."""
        async with self._hold.turn():
            image = await asyncio.to_thread(source.open)
        held = decoded_bytes(image) if source.page else 0  # other images are counted from their decoding on
        self._ledger.reserve(held)
        try:
            return await self._prepare(index, source.detail, image)
        finally:
            self._ledger.release(held)

    async def _prepare(self, index: int, detail: Detail, image: Image.Image) -> PreparedPage:
        angle, error = 0, None
        if self._wishes.orient or self._wishes.unwarp:
            (upright,) = await self._engine.upright(
                [image], orient=self._wishes.orient, unwarp=self._wishes.unwarp, hold=self._hold
            )
            image, angle = upright.image, upright.angle
        found: list[Detection] | None = []
        if self._wishes.layout:
            try:
                found = await self._found(image)
            except GenerationFailed as failure:  # the page can be read all the same
                error = str(failure)
        page = ReadPage(index=index, size=image.size, angle=angle, error=error)
        prepared = await asyncio.to_thread(self._cut, page, image, found, detail)
        self._ledger.reserve(sum(one.bytes for one in prepared.waiting) + _kept_bytes(page))
        return prepared

    @property
    def _rules(self) -> Rules:
        assert self._engine.layout is not None
        return rules_of(self._engine.layout.model_type)

    @property
    def _options(self) -> LayoutOptions:
        """The request's, with the size at which the checkpoint wants blocks read where the request has none."""
        options, wanted = self._wishes.options, self._engine.block_limits.min_pixels
        if wanted is None:
            return options
        own = BOUNDS._replace(min_pixels=min(wanted, BOUNDS.max_pixels))
        return replace(options, bounds={"ocr": own, "table": own, **options.bounds})

    async def _found(self, image: Image.Image) -> list[Detection] | None:
        """What the layout network found; None where the page's ink tells of its blocks."""
        assert self._engine.layout is not None
        if self._engine.layout.model_type == SEGMENTATION:
            return None
        threshold = lowest_threshold(self._rules, self._wishes.options)
        (found,) = await self._engine.find_blocks([image], threshold, self._hold)
        return found

    def _cut(self, page: ReadPage, image: Image.Image, found: list[Detection] | None, detail: Detail) -> PreparedPage:
        """The page's blocks with their images, from what the network found on it, or from its ink."""
        if self._wishes.shown:
            page.jpeg = jpeg_of(image)
        blocks: list[Block] = []
        if self._wishes.layout:
            page.detections, blocks = blocks_of_page(image, found, self._rules, self._options)
        unread = self._wishes.never_unread and bool(blocks) and all(block.task is None for block in blocks)
        if unread or not self._wishes.layout:
            blocks = [self._whole(image)]
        prepared = PreparedPage(page)
        limits = self._engine.block_limits if self._wishes.layout else WHOLE_BLOCKS
        for block in blocks:
            keep = self._wishes.keep_images
            figures = figures_of(image, block) if keep else {}
            read = ReadBlock(block=block, figures={token: _kept(figure) for token, figure in figures.items()})
            page.blocks.append(read)
            if block.task is not None:
                images = images_of(image, block, MAX_ASPECT, limits)
                prepared.waiting += [BlockImage(read, block.task, one, detail) for one in images]
            elif keep:
                read.image = _kept(crop(image, block, MAX_ASPECT))
        return prepared

    def _whole(self, image: Image.Image) -> Block:
        label = self._wishes.label
        task = task_of(label, (label,), self._wishes.options.bounds)
        return Block((Detection(label, 1.0, Box(0, 0, *image.size), 0),), task=task)
