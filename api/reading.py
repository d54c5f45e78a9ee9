"""Documents read whole for routes that are no chat: pages with their blocks, and the account of them."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request
from PIL import Image

from answers.arranged import arranged
from answers.block_extraction import question_about
from answers.document import DocumentReading
from answers.extraction import FormFilling
from answers.pages import PageWishes
from answers.transcript import Transcript
from api import logs
from api.chat import deadline_of
from api.disconnect import ClientGoneError, unless_gone
from api.errors import translated
from api.metrics import End
from api.serving import Serving
from engine.errors import DeadlineExceeded, EngineError
from engine.handles import Hold
from engine.repetition import RepetitionLimits
from engine.request import SamplingParams
from images.loading import load_images
from images.source import ImageSource
from layout.pages import ReadPage
from modes.registry import max_repeats
from modes.schemas import Node

MODE = "document"  # in metrics and the log
MAX_ID = 512  # characters of a client's id that the log holds

Seen = Callable[[ReadPage, Image.Image, Image.Image], None]
"""Called in a thread with a page that is read, its image as the file has it, and the upright one that boxes are in."""

Choose = Callable[[Sequence[ImageSource]], Sequence[ImageSource]]
"""The pages to read, of all that the file has. Raises ApiError."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a request wants of its document."""

    reference: str  # a data URI or an address
    param: str  # the field that holds it
    wishes: PageWishes
    params: Callable[[str], SamplingParams]  # by the mode of a prompt
    choose: Choose = lambda sources: sources
    seen: Seen | None = None  # costs drawing each page once more
    node: Node | None = None  # a schema to fill from the whole text
    id: str | None = None  # the client's own, for the log
    password: str | None = None  # a PDF's


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document that was read."""

    sources: Sequence[ImageSource]
    pages: list[ReadPage]
    transcript: Transcript  # all blocks in their order, BETWEEN two
    filled: FormFilling | None  # the schema that was wanted


@dataclass(kw_only=True)
class DocumentAccount:
    """What the metrics, the log's line and the trace say of a document, once its first block is queued."""

    serving: Serving
    started: float  # monotonic seconds, as all times
    began: float | None = None
    end: End = "abort"
    reading: DocumentReading | None = None
    id: str | None = None  # the client's own
    counted: bool = False  # as one that was asked for

    def open(self) -> None:
        """Count the document, which was not refused."""
        self.counted = True
        self.serving.metrics.asked(MODE)

    def close(self) -> None:
        """Count its end, and cancel what is left of it."""
        if self.counted:
            self.serving.metrics.ended(self.end, time.monotonic() - self.started)
        if self.reading is not None:
            self.reading.abort()

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
        if self.id is not None:
            facts["id"] = logs.cut(self.id, MAX_ID)
        if self.began is not None:
            facts["first_token_seconds"] = round(self.began - self.started, 4)
        return facts

    def phases(self) -> Iterator[tuple[str, float, float]]:
        """Phases with begin and end; those of several blocks overlap."""
        for times in self.reading.times if self.reading else []:
            yield from times.phases()


async def read_document(request: Request, serving: Serving, wanted: Wanted) -> Document:
    """The document, read block by block. A client that leaves cancels it. Raises ApiError, ImageError."""
    account = DocumentAccount(serving=serving, started=time.monotonic(), id=wanted.id)
    try:
        hold = serving.engine.hold(1, request.state.client, deadline_of(request, serving))
    except EngineError as error:
        raise translated(error) from error
    try:
        work = asyncio.create_task(_work(request, account, hold, wanted))
        return await unless_gone(request, hold.unless_ended(work))
    except EngineError as error:
        account.end = "deadline" if isinstance(error, DeadlineExceeded) else "error"
        raise translated(error) from error
    except ClientGoneError:
        raise
    except Exception:
        account.end = "error"
        raise
    finally:
        account.close()
        hold.release()


async def _work(request: Request, account: DocumentAccount, hold: Hold, wanted: Wanted) -> Document:
    serving = account.serving
    hold.reserve_bytes(len(wanted.reference))
    loaded = await load_images(
        wanted.reference, wanted.param, serving.limits, serving.decoder, hold.turn(), wanted.password
    )
    hold.reserve_bytes(max(source.bytes for source in loaded))
    sources = wanted.choose(loaded)
    account.reading = reading = DocumentReading(
        engine=serving.engine, hold=hold, sources=sources, wishes=wanted.wishes, params=wanted.params
    )
    await reading.begin()
    account.open()
    request.state.completion = account
    await _read(account, sources, wanted)
    filled = None
    if wanted.node is not None:
        filled = FormFilling(
            engine=serving.engine, hold=hold, usage=reading.usage, node=wanted.node, doubtful_as_null=False
        )
        text = await asyncio.to_thread(arranged, reading.pages, reading.transcript)
        await filled.fill(text, question_about(sources[0], wanted.wishes, serving.engine))
    account.end = reading.finish_reason
    return Document(sources=sources, pages=reading.pages, transcript=reading.transcript, filled=filled)


async def _read(account: DocumentAccount, sources: Sequence[ImageSource], wanted: Wanted) -> None:
    wishes, seen = wanted.wishes, wanted.seen
    assert account.reading is not None
    async for event in account.reading.events():
        if account.began is None and event.kind == "text":
            account.began = time.monotonic()
            account.serving.metrics.began(account.began - account.started)
        if event.kind == "page" and seen is not None:
            async with account.reading.hold.turn():
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
