"""Steps of a stream, for clients that ask for `ocr.progress`: a page begins, a block is read."""

import asyncio
import base64
from collections import deque
from collections.abc import Sequence

from answers.answer import Answer
from answers.events import AnswerEvent
from answers.pages import jpeg_of
from api.progress import block_facts, page_facts
from api.schema.responses import OcrProgress, OcrStep, ShownPage
from images.source import ImageSource
from layout.pages import ReadPage


class Steps:
    """The steps of one answer, from its events."""

    def __init__(self, answer: Answer, sources: Sequence[ImageSource], *, show: bool) -> None:
        """`sources`: pages that are read as one image each, none for a document; each is dropped once it is shown."""
        self._answer, self._sources, self._show = answer, deque(sources), show
        self._shown = 0

    async def first(self) -> OcrStep | None:
        """The step before any event. Raises ImageError."""
        return await self._whole_page() if self._sources else None

    async def of(self, event: AnswerEvent) -> OcrStep | None:
        """The step that the event is, if it is one. Raises ImageError."""
        if self._answer.document is None:
            begins = event.page >= self._shown and bool(self._sources)
            return await self._whole_page() if begins else None
        if event.kind not in ("page", "block"):
            return None
        page = self._answer.document.pages[event.page]
        progress = OcrProgress(
            page=event.page + 1, pages=self._answer.images, block=event.block, blocks=len(page.blocks)
        )
        if event.kind == "block":
            return OcrStep(progress=progress)
        jpeg, page.jpeg = page.jpeg, None
        blocks = [block_facts(block, page.index + 1, order + 1, None) for order, block in enumerate(page.blocks)]
        return OcrStep(progress=progress, page=_shown(page, jpeg), blocks=blocks)

    async def _whole_page(self) -> OcrStep:
        source = self._sources.popleft()
        image = await asyncio.to_thread(source.open)
        jpeg = await asyncio.to_thread(jpeg_of, image) if self._show else None
        page = ReadPage(index=self._shown, size=image.size)
        self._shown += 1
        progress = OcrProgress(page=self._shown, pages=self._answer.images, block=0, blocks=0)
        return OcrStep(progress=progress, page=_shown(page, jpeg))


def _shown(page: ReadPage, jpeg: bytes | None) -> ShownPage:
    image = None if jpeg is None else f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    return ShownPage(**page_facts(page), image=image)
