"""The chat route: from a validated request to its answer. Whoever leaves cancels the generation."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.completion import Completion
from api.errors import invalid, translated
from api.extracting import node_to_fill, structure_to_hold
from api.image_loading import Limits, load_pictures
from api.reading import Page, Reading
from api.sampling import bounds, sampling, structure_of
from api.schema import ChatCompletion, ChatRequest, FilePart, ImagePart, Message, PictureOptions, TextPart, ignored
from api.serving import Serving
from engine.engine import Engine, Hold
from engine.errors import EngineError
from modes.choose import Detail, Task, Turn, choose

logger = logging.getLogger(__name__)

IGNORED = "x-ignored-fields"
DISCONNECT_POLL = 0.1  # seconds
MOST_REPORTED = 1000  # unknown fields in the log


async def answer(body: ChatRequest, request: Request, serving: Serving) -> Response:
    """Run one request. Raises ApiError; after the first byte of a stream, errors are events in it."""
    started = time.monotonic()
    serving.check_model(body.model)
    headers = unknown_fields(body, serving)
    try:
        hold = serving.engine.hold()
        try:
            turns = await load_turns(body.messages, serving.limits)
            completion = await begin(body, task_of(body, turns), serving, hold, started)
        except BaseException:
            hold.release()
            raise
    except EngineError as error:
        raise translated(error) from error
    if body.stream:
        return Stream(completion, headers)
    return await unless_gone(request, completion.whole(), headers)


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
    if task.finished and task.mode == "spotting" and len(task.prompts[0].pictures) > 1:
        raise invalid("spotting reads one picture at a time", "messages")
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
    asked = pages(task, body.mm_processor_kwargs, engine)
    generations = await asked[0].submit(engine, params, hold)
    readings = [
        Reading(engine, asked, generation, own, hold) for generation, own in zip(generations, params, strict=True)
    ]
    serving.metrics.asked(task.mode)
    return Completion(serving, body, task, readings, node, hold, started)


def pages(task: Task, asked: PictureOptions, engine: Engine) -> list[Page]:
    """The prompts of a task with the size that each picture may have. Raises EngineUnavailable."""
    own = engine.bounds
    return [
        Page(prompt, [bounds(asked, picture.detail, own) for picture in prompt.pictures]) for prompt in task.prompts
    ]


class Stream(StreamingResponse):
    """A stream whose generation ends with it, however it ends, even before its first byte."""

    def __init__(self, completion: Completion, headers: dict[str, str]) -> None:
        super().__init__(completion.stream(), media_type="text/event-stream", headers=headers)
        self.headers["Cache-Control"] = "no-cache"
        self.headers["X-Accel-Buffering"] = "no"  # nginx would hold the stream back
        self._completion = completion

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._completion.abort()


async def unless_gone(request: Request, work: Coroutine[Any, Any, ChatCompletion], headers: dict[str, str]) -> Response:
    """The outcome of `work`, which is cancelled when the client leaves: a handler is not told of that by itself."""
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=DISCONNECT_POLL))[0]:
            if await request.is_disconnected():
                return Response(status_code=499)  # nobody reads it; nginx's number for a client that left
        return Response(task.result().model_dump_json(), media_type="application/json", headers=headers)
    finally:
        task.cancel()


def unknown_fields(body: ChatRequest, serving: Serving) -> dict[str, str]:
    """The header that names what is ignored, each name also once in the log. Raises ApiError where that is an error."""
    names = sorted({name.encode("ascii", "replace").decode() for name in ignored(body)})
    if not names:
        return {}
    if serving.strict_fields:
        raise invalid(f"{names[0]} is not known here; leave it out", names[0])
    new = [name for name in names if name not in serving.reported]
    if new and len(serving.reported) < MOST_REPORTED:
        serving.reported.update(new)
        logger.warning("Requests hold fields that are ignored: %s", ", ".join(new))
    return {IGNORED: "".join(c if c.isprintable() else "?" for c in ", ".join(names))[:1000]}


async def load_turns(messages: list[Message], limits: Limits) -> list[Turn]:
    """The conversation with its pictures, read off the event loop. Raises ApiError."""
    count = sum(not isinstance(part, TextPart) for message in messages for part in message.content)
    if count > limits.max_images:
        raise invalid(f"the request holds {count} pictures; {limits.max_images} are the most", "messages")
    turns = []
    for i, message in enumerate(messages):
        texts, pictures = [], []
        for j, part in enumerate(message.content):
            if isinstance(part, TextPart):
                texts.append(part.text)
                continue
            reference, field, detail = _reference(part)
            loaded = await load_pictures(reference, f"messages.{i}.content.{j}.{field}", limits)
            pictures += [replace(picture, detail=detail) for picture in loaded]
        role = "system" if message.role == "developer" else message.role
        turns.append(Turn(role, "\n".join(texts), pictures))
    return turns


def _reference(part: ImagePart | FilePart) -> tuple[str, str, Detail]:
    """What a part points to, and the field that says so."""
    if isinstance(part, ImagePart):
        return part.image_url.url, "image_url.url", part.image_url.detail
    return part.file.file_data, "file.file_data", "auto"
