"""One choice of a completion, whatever its content is, and the events of several choices as they come."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from answers.document_text import ReadDocument
from answers.events import AnswerEvent, TokenUsage
from answers.extraction import ExtractedField
from answers.prompts import StraightImage
from answers.transcript import Transcript
from engine.request import Times
from modes.checks import Check


class Answer(Protocol):
    """One choice of a completion: `finished.FinishedText`, `extraction.Extraction` or `document_text.DocumentText`."""

    @property
    def content(self) -> str:
        """The content so far; of an answer that is made at its end, empty until then."""
        ...

    @property
    def transcript(self) -> Transcript:
        """What the model has written so far."""
        ...

    @property
    def usage(self) -> TokenUsage: ...

    @property
    def images(self) -> int:
        """Images and pages that it is about."""
        ...

    @property
    def straightened(self) -> list[StraightImage]:
        """Images that were turned upright or flattened and then read as one each."""
        ...

    @property
    def document(self) -> ReadDocument | None:
        """Pages with their blocks, as far as they are read; None for an answer that is not made of blocks."""
        ...

    @property
    def keep_chars(self) -> int | None:
        """Characters of a streamed content before the repeats of a loop; None without a loop."""
        ...

    @property
    def fields(self) -> list[ExtractedField] | None:
        """Values of an extracted object, in its order; None where nothing is extracted."""
        ...

    @property
    def checks(self) -> list[Check] | None:
        """Sums over an extracted object; None where nothing is extracted."""
        ...

    @property
    def times(self) -> list[Times]:
        """Times of its prompts, as far as they are queued."""
        ...

    def events(self) -> AsyncIterator[AnswerEvent]:
        """Raises ImageError, EngineError."""
        ...

    def abort(self) -> None:
        """Give up. Harmless once finished."""
        ...


async def merged(answers: Sequence[Answer]) -> AsyncIterator[tuple[int, AnswerEvent]]:
    """Events of several answers as they come, each with the index of its answer. Raises as they do."""
    if len(answers) == 1:
        async for event in answers[0].events():
            yield 0, event
        return
    events: asyncio.Queue[tuple[int, AnswerEvent] | None] = asyncio.Queue()

    async def forward(index: int) -> None:
        async for event in answers[index].events():
            events.put_nowait((index, event))

    async def forward_all() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for index in range(len(answers)):
                    group.create_task(forward(index))
        finally:
            events.put_nowait(None)

    task = asyncio.create_task(forward_all())
    try:
        while (item := await events.get()) is not None:
            yield item
        await _first_error(task)
    finally:
        task.cancel()


async def _first_error(task: "asyncio.Task[None]") -> None:
    try:
        await task
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
