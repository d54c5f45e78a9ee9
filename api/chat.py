"""The chat route: from a validated request to its answer. Whoever leaves cancels the generation."""

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Coroutine, MutableMapping
from dataclasses import replace
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from answers.extraction import node_to_fill, structure_to_hold
from answers.reading import Page, Reading
from api.completion import Completion
from api.errors import ApiError, invalid, translated
from api.gate import GONE
from api.sampling import bounds, sampling, structure_of
from api.schema import (
    ChatRequest,
    FilePart,
    ImageOptions,
    ImagePart,
    Message,
    TextPart,
    TokenizeRequest,
    ignored,
)
from api.serving import Serving
from engine.engine import Engine
from engine.errors import EngineError
from engine.handles import Hold
from engine.request import Deadline
from images.loading import Decoder, ImageLimits, load_images
from images.source import Detail
from modes.choose import Task, Turn, choose

T = TypeVar("T")

logger = logging.getLogger(__name__)

IGNORED = "x-ignored-fields"
TIMEOUT = "x-request-timeout"
"""A header: seconds from a request's arrival to its answer's end.

The time-out that OpenAI's clients tell in a header of their own is of a pause in reading: streams may last longer.
"""
READER_SECONDS = 60.0  # that a stream waits for a client that reads nothing, as nginx's send_timeout
MAX_REPORTED = 1000  # unknown fields of a request, and in the log
MAX_OF_A_NAME = 100  # characters of such a field's, which the log and the memory hold


async def answer(body: ChatRequest, request: Request, serving: Serving) -> Response:
    """Run one request. Raises ApiError; after the first byte of a stream, errors are events in it."""
    started = time.monotonic()
    serving.check_model(body.model)
    headers = unknown_fields(body, serving)
    deadline = deadline_of(request, serving)
    try:
        hold = serving.engine.hold(body.n, request.state.client, deadline)
        try:
            completion = await unless_gone(request, prepared(body, serving, hold, started))
        except BaseException:
            hold.release()
            raise
        request.state.completion = completion  # for the log's line on the request, and its trace
        if body.stream:
            return Stream(completion, headers)
        whole = await unless_gone(request, completion.whole())
    except EngineError as error:
        raise translated(error) from error
    return Response(whole.model_dump_json(), media_type="application/json", headers=headers)


def deadline_of(request: Request, serving: Serving) -> Deadline | None:
    """The earlier of the server's own and the one that the client asks for, from the request's arrival on."""
    seconds = serving.request_seconds
    asked = request.headers.get(TIMEOUT)
    if asked is not None:
        try:
            own = float(asked)
        except ValueError:
            own = math.nan
        if not 0 < own < math.inf:
            raise invalid(f"{TIMEOUT} is {asked!r:.80}; it must be seconds, such as 30 or 2.5", TIMEOUT)
        seconds = min(own, seconds or own)
    return None if seconds is None else Deadline(request.state.arrived + seconds, seconds)


async def prepared(body: ChatRequest, serving: Serving, hold: Hold, started: float) -> Completion:
    """As `begin`, from the messages on, unless `hold` ends meanwhile."""

    async def work() -> Completion:
        turns = await load_turns(body.messages, serving.limits, serving.decoder, hold)
        return await begin(body, task_of(body, turns), serving, hold, started)

    return await hold.unless_ended(asyncio.create_task(work()))


def task_of(body: ChatRequest, turns: list[Turn]) -> Task:
    """What the conversation and the request's own fields ask for. Raises ApiError."""
    try:
        task = choose(turns, body.mode)
    except ValueError as error:
        raise invalid(str(error), "mode") from error
    if body.table_format is not None:
        if task.mode != "table":
            raise invalid(f"table_format is for the mode table; this is {task.mode}", "table_format")
        if structure_of(body) is not None:
            raise invalid(
                "table_format does not go with a structure, which says itself how its answer looks", "table_format"
            )
        task = replace(task, finished=True)
    if task.finished and task.mode == "spotting" and len(task.prompts[0].images) > 1:
        raise invalid("spotting reads one image at a time", "messages")
    return task


async def begin(body: ChatRequest, task: Task, serving: Serving, hold: Hold, started: float) -> Completion:
    """The completion, which releases `hold` at its end; its first page is queued. Raises ApiError, EngineError."""
    engine = serving.engine
    structure = structure_of(body)
    node = node_to_fill(body, task, structure)
    held = None if node is not None else structure_to_hold(body, task, structure)
    if held is not None:
        if len(task.prompts) > 1:
            raise invalid("the answer to several pages has no structure; send the pages one by one", held.param)
        task = replace(task, finished=False)  # what a structure says is finished
    params = sampling(body, task, held, engine.defaults)
    again = node is not None or (body.n > 1 and len(task.prompts) > 1)
    asked = pages(task, body.mm_processor_kwargs, engine, again=again)
    task = replace(task, prompts=[])  # whose images nothing else should hold
    generations = await asked[0].submit(engine, params, hold)
    readings = [
        Reading(engine, asked, generation, own, hold) for generation, own in zip(generations, params, strict=True)
    ]
    serving.metrics.asked(task.mode)
    return Completion(serving, body, task, readings, node, hold, started)


def pages(task: Task, asked: ImageOptions, engine: Engine, *, again: bool = False) -> list[Page]:
    """The prompts of a task with the size that each image may have. Raises EngineUnavailable."""
    own = engine.bounds
    return [
        Page(prompt, [bounds(asked, image.detail, own) for image in prompt.images], again) for prompt in task.prompts
    ]


async def prompt_tokens(body: TokenizeRequest, request: Request, serving: Serving) -> list[int]:
    """Of a conversation, as its answer would begin; of a document, of all pages. Raises ApiError, EngineError."""
    engine = serving.engine
    hold = engine.hold(client=request.state.client)

    async def tokens() -> list[int]:
        task = choose(await load_turns(body.messages or [], serving.limits, serving.decoder, hold))
        asked = pages(task, body.mm_processor_kwargs, engine)
        return [token for page in asked for token in await page.tokens(engine)]

    try:
        return await unless_gone(request, hold.unless_ended(asyncio.create_task(tokens())))
    finally:
        hold.release()


class Stream(StreamingResponse):
    """A stream whose generation ends with it, however it ends, even before its first byte."""

    def __init__(self, completion: Completion, headers: dict[str, str]) -> None:
        super().__init__(completion.stream(), media_type="text/event-stream", headers=headers)
        self.headers["Cache-Control"] = "no-cache"
        self.headers["X-Accel-Buffering"] = "no"  # nginx would hold the stream back
        self._completion = completion

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def in_time(message: MutableMapping[str, Any]) -> None:
            try:
                async with asyncio.timeout(READER_SECONDS):
                    await send(message)
            except TimeoutError:
                raise StalledReaderError from None

        try:
            await super().__call__(scope, receive, in_time)
        except StalledReaderError:  # without an end of the body, the connection is closed
            logger.info("A client has read nothing of its stream for %g s", READER_SECONDS)
        finally:
            self._completion.abort()


class StalledReaderError(Exception):
    """What is sent is not taken."""


class ClientGoneError(ApiError):
    """Nobody reads this."""

    def __init__(self) -> None:
        super().__init__(GONE, "the client has left")


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The outcome of `work`, which is cancelled when the client leaves: a handler is not told of that by itself.

    Raises ClientGoneError, or as `work`.
    """
    task, gone = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    """Returns when the client leaves; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def unknown_fields(body: ChatRequest, serving: Serving) -> dict[str, str]:
    """The header that names what is ignored, each name also once in the log. Raises ApiError where that is an error."""
    some = itertools.islice(ignored(body), MAX_REPORTED)
    names = sorted({name[:MAX_OF_A_NAME].encode("ascii", "replace").decode() for name in some})
    if not names:
        return {}
    if serving.strict_fields:
        raise invalid(f"{names[0]} is not known here; leave it out", names[0])
    new = [name for name in names if name not in serving.reported]
    if new and len(serving.reported) < MAX_REPORTED:
        serving.reported.update(new)
        logger.warning("Requests hold fields that are ignored: %s", _one_line(new))
    return {IGNORED: _one_line(names)}


def _one_line(names: list[str]) -> str:
    return "".join(c if c.isprintable() else "?" for c in ", ".join(names))[:1000]


async def load_turns(messages: list[Message], limits: ImageLimits, decoder: Decoder, hold: Hold) -> list[Turn]:
    """The conversation with its images, read off the event loop; `hold` counts their bytes.

    Raises ApiError, QueueFull.
    """
    parts = [part for message in messages for part in message.content if not isinstance(part, TextPart)]
    if len(parts) > limits.max_images:
        raise invalid(f"the request holds {len(parts)} images; {limits.max_images} are the most", "messages")
    hold.reserve_bytes(sum(len(_reference(part)[0]) for part in parts))
    turns = []
    for i, message in enumerate(messages):
        texts, images = [], []
        for j, part in enumerate(message.content):
            if isinstance(part, TextPart):
                texts.append(part.text)
                continue
            reference, field, detail = _reference(part)
            param = f"messages.{i}.content.{j}.{field}"
            loaded = await load_images(reference, param, limits, decoder, hold.turn())
            hold.reserve_bytes(max(image.bytes for image in loaded))
            images += [replace(image, detail=detail) for image in loaded]
        role = "system" if message.role == "developer" else message.role
        turns.append(Turn(role, "\n".join(texts), images))
    return turns


def _reference(part: ImagePart | FilePart) -> tuple[str, str, Detail]:
    """What a part points to, and the field that says so."""
    if isinstance(part, ImagePart):
        return part.image_url.url, "image_url.url", part.image_url.detail
    return part.file.file_data, "file.file_data", "auto"
