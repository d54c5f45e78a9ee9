"""Documents read whole for routes that are no chat: pages with their blocks, and the account of them."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from fastapi import Request
from PIL import Image

from answers.document import DocumentReading
from answers.events import TokenUsage
from answers.pages import PageWishes
from api.chat import deadline_of
from api.disconnect import unless_gone
from api.errors import translated
from api.metrics import End
from api.serving import Serving
from engine.errors import DeadlineExceeded, EngineError
from engine.repetition import RepetitionLimits
from engine.request import SamplingParams, Times
from images.loading import load_images
from images.source import ImageSource
from layout.pages import ReadPage
from modes.registry import max_repeats

MODE = "document"  # in metrics and the log

Seen = Callable[[ReadPage, Image.Image, Image.Image], None]
"""Called in a thread with a page that is read, its image as the file has it, and the upright one that boxes are in."""

Choose = Callable[[Sequence[ImageSource]], Sequence[ImageSource]]
"""The pages to read, of all that the file has. Raises ApiError."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document that was read."""

    sources: Sequence[ImageSource]
    pages: list[ReadPage]
    usage: TokenUsage


@dataclass(kw_only=True)
class DocumentAccount:
    """What the log's line and the trace say of a document."""

    serving: Serving
    started: float  # monotonic seconds, as all times
    began: float | None = None
    end: End = "abort"
    reading: DocumentReading | None = None

    def facts(self) -> dict[str, Any]:
        """Facts for the log and a trace, once the document is over."""
        facts: dict[str, Any] = {"model": self.serving.model, "mode": MODE, "finish_reasons": [self.end]}
        if self.reading is not None:
            usage = self.reading.usage
            facts |= {
                "pictures": self.reading.images,
                "prompt_tokens": usage.prompt,
                "cached_tokens": usage.cached,
                "completion_tokens": usage.completion,
            }
        if self.began is not None:
            facts["first_token_seconds"] = round(self.began - self.started, 4)
        return facts

    def phases(self) -> Iterator[tuple[str, float, float]]:
        """Phases with begin and end; those of several blocks overlap."""
        for times in self.reading.times if self.reading else []:
            yield from _phases(times)


def _phases(times: Times) -> Iterator[tuple[str, float, float]]:
    marks = (times.submitted, times.scheduled, times.encoded, times.began, times.newest)
    for name, (begin, end) in zip(("queue", "encode", "prefill", "decode"), pairwise(marks), strict=True):
        if begin is not None and end is not None:
            yield name, begin, end


async def read_document(
    request: Request,
    serving: Serving,
    *,
    reference: str,
    param: str,
    wishes: PageWishes,
    params: Callable[[str], SamplingParams],
    choose: Choose = lambda sources: sources,
    seen: Seen | None = None,
) -> Document:
    """The pages of the document at `reference`, a data URI or an address, which stands in the field `param`.

    `seen` gets each page with its image, which costs drawing it once more. A client that leaves cancels it.
    Raises ApiError, ImageError.
    """
    account = DocumentAccount(serving=serving, started=time.monotonic())
    try:
        hold = serving.engine.hold(1, request.state.client, deadline_of(request, serving))
    except EngineError as error:
        raise translated(error) from error
    request.state.completion = account
    serving.metrics.asked(MODE)

    async def work() -> Document:
        hold.reserve_bytes(len(reference))
        loaded = await load_images(reference, param, serving.limits, serving.decoder, hold.turn())
        hold.reserve_bytes(max(source.bytes for source in loaded))
        sources = choose(loaded)
        account.reading = DocumentReading(
            engine=serving.engine, hold=hold, sources=sources, wishes=wishes, params=params
        )
        await _read(account, sources, wishes, seen)
        return Document(sources=sources, pages=account.reading.pages, usage=account.reading.usage)

    try:
        document = await unless_gone(request, hold.unless_ended(asyncio.create_task(work())))
        account.end = "stop"
        return document
    except EngineError as error:
        account.end = "deadline" if isinstance(error, DeadlineExceeded) else "error"
        raise translated(error) from error
    finally:
        serving.metrics.ended(account.end, time.monotonic() - account.started)
        if account.reading is not None:
            account.reading.abort()
        hold.release()


async def _read(
    account: DocumentAccount, sources: Sequence[ImageSource], wishes: PageWishes, seen: Seen | None
) -> None:
    assert account.reading is not None
    async for event in account.reading.events():
        if account.began is None and event.kind == "text":
            account.began = time.monotonic()
            account.serving.metrics.began(account.began - account.started)
        if event.kind == "page" and seen is not None:
            image = await asyncio.to_thread(sources[event.page.index].open)
            upright = image
            if wishes.orient or wishes.unwarp:
                engine, hold = account.serving.engine, account.reading.hold
                (made,) = await engine.upright([image], orient=wishes.orient, unwarp=wishes.unwarp, hold=hold)
                upright = made.image
            await asyncio.to_thread(seen, event.page, image, upright)


def sampling(defaults: SamplingParams, **asked: Any) -> Callable[[str], SamplingParams]:
    """Sampling of a prompt by its mode: the checkpoint's `defaults`, changed by what of `asked` is not None."""
    given = {name: value for name, value in asked.items() if value is not None}

    def of_mode(mode: str) -> SamplingParams:
        return replace(defaults, **given, repetition=RepetitionLimits(min_count=max_repeats(mode)))

    return of_mode
