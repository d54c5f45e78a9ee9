"""Pages with text in known places, and an engine that finds blocks exactly there."""

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
from PIL import Image, ImageDraw, ImageFont

from answers.document import BlockEvent, DocumentReading
from answers.pages import PageWishes
from engine.engine import Engine
from engine.handles import Hold
from engine.request import SamplingParams
from images.source import ImageSource
from layout.options import LayoutOptions
from models.detection import Box, Detection
from models.protocol import PixelBounds

SIZE = (800, 1000)
FONT = ImageFont.load_default(28)
SMALL = PixelBounds(28 * 28, 28 * 28 * 16)
QUICK = LayoutOptions(bounds=dict.fromkeys(("ocr", "table", "chart"), SMALL))
WISHES = PageWishes(layout=True)
FAST = PageWishes(layout=True, options=QUICK)


def page(*texts: str, top: int = 60) -> Image.Image:
    """A page with one line of text in each block of `boxes`."""
    image = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(image)
    for text, box in zip(texts, boxes(len(texts), top), strict=True):
        pen.text((box.left + 10, box.top + 8), text, fill="black", font=FONT)
    return image


def boxes(count: int, top: int = 60) -> list[Box]:
    return [Box(60, top + 120 * place, 560, top + 120 * place + 50) for place in range(count)]


def detections(labels: Sequence[str]) -> list[Detection]:
    """Blocks of these labels, one below the other as on `page`."""
    return [
        Detection(label, 0.9, box, order)
        for order, (label, box) in enumerate(zip(labels, boxes(len(labels)), strict=True))
    ]


def source(image: Image.Image, *, page: bool = True) -> ImageSource:
    return ImageSource(lambda: image, page=page)


def finds(patch: pytest.MonkeyPatch, *pages: Sequence[Detection]) -> list[Image.Image]:
    """Let engines find these blocks on one page after another, the last ones on all further pages.

    The pages that were looked at, as far as they are.
    """
    seen: list[Image.Image] = []

    async def find_blocks(
        _: Engine, images: Sequence[Image.Image], _threshold: float, _hold: Hold
    ) -> list[list[Detection]]:
        found = [list(pages[min(len(seen) + place, len(pages) - 1)]) for place in range(len(images))]
        seen.extend(images)
        return found

    patch.setattr(Engine, "find_blocks", find_blocks, raising=False)
    patch.setattr(
        Engine, "layout", SimpleNamespace(model_type="pp_doclayout_v3", orients=False, unwarps=False), raising=False
    )
    return seen


def greedy(_: str) -> SamplingParams:
    return SamplingParams(max_tokens=40)


def run(
    engine: Engine,
    sources: Sequence[ImageSource],
    wishes: PageWishes = FAST,
    *,
    params: Callable[[str], SamplingParams] = greedy,
    each: Callable[[DocumentReading, BlockEvent], None] = lambda *_: None,
) -> tuple[DocumentReading, list[BlockEvent]]:
    """The reading once it has ended, with its events; `each` sees them as they come."""

    async def read() -> tuple[DocumentReading, list[BlockEvent]]:
        hold = engine.hold()
        try:
            reading = DocumentReading(engine=engine, hold=hold, sources=sources, wishes=wishes, params=params)
            events = []
            async for event in reading.events():
                each(reading, event)
                events.append(event)
            return reading, events
        finally:
            hold.release()

    return asyncio.run(read())


def texts(reading: DocumentReading) -> list[list[str]]:
    return [[block.text for block in one.blocks] for one in reading.pages]
