"""One chat request, streamed or whole. Whoever leaves cancels the generation."""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api import sse
from api.errors import ApiError, invalid, translated
from api.image_loading import Limits, load_image
from api.schema import (
    AnswerMessage,
    ChatCompletion,
    ChatCompletionChunk,
    ChatRequest,
    Choice,
    ChunkChoice,
    Delta,
    ImagePart,
    Message,
    Usage,
)
from engine.engine import Engine, Generation
from engine.errors import EngineError
from engine.request import FinishReason, SamplingParams
from models.paddleocr_vl.prompts import PixelBounds
from modes.choose import Turn, choose

FAMILY = re.compile(r"paddleocr-?vl", re.IGNORECASE)  # any PaddleOCR-VL name is answered by whichever is loaded
DISCONNECT_POLL = 0.1  # seconds


async def answer(
    body: ChatRequest, request: Request, engine: Engine, model: str, limits: Limits
) -> ChatCompletion | Response:
    """Run one request. Raises ApiError; after the first byte of a stream, errors are events in it."""
    check_model(body.model, model)
    turns = await load_turns(body.messages, limits)
    task = choose(turns)
    try:
        generation = await engine.submit(task.messages, task.pictures, sampling(body), bounds(body, engine.bounds))
    except EngineError as error:
        raise translated(error) from error
    completion = Completion(model, generation)
    if body.stream:
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        return Stream(completion, include_usage)
    return await unless_gone(request, completion.whole())


class Completion:
    """The answer to one request, under one id."""

    def __init__(self, model: str, generation: Generation) -> None:
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.model = model
        self.generation = generation

    async def whole(self) -> ChatCompletion:
        pieces: list[str] = []
        reason: FinishReason = "stop"
        tokens = 0
        try:
            async for event in self.generation:
                pieces.append(event.text)
                tokens, reason = event.completion_tokens, event.finish_reason or reason
        except EngineError as error:
            raise translated(error) from error
        finally:
            self.generation.abort()
        choice = Choice(message=AnswerMessage(content="".join(pieces)), finish_reason=reason)
        return ChatCompletion(
            id=self.id, created=self.created, model=self.model, choices=[choice], usage=self._usage(tokens)
        )

    async def stream(self, include_usage: bool) -> AsyncIterator[bytes]:
        """OpenAI's order: the role, the text, the reason for the end, the usage if asked for, [DONE]."""
        tokens = 0
        try:
            yield self._chunk(include_usage, Delta(role="assistant", content=""))
            async for event in self.generation:
                tokens = event.completion_tokens
                if event.text:
                    yield self._chunk(include_usage, Delta(content=event.text))
                if event.finish_reason is not None:
                    yield self._chunk(include_usage, Delta(), event.finish_reason)
            if include_usage:
                yield sse.event(self._body([], self._usage(tokens)).model_dump())
        except EngineError as error:
            yield sse.event(translated(error).body)
        yield sse.DONE

    def _chunk(self, include_usage: bool, delta: Delta, reason: FinishReason | None = None) -> bytes:
        body = self._body([ChunkChoice(delta=delta, finish_reason=reason)]).model_dump()
        body["choices"][0]["delta"] = delta.model_dump(exclude_none=True)
        if not include_usage:
            del body["usage"]  # with the usage asked for, it is null in every chunk but the last
        return sse.event(body)

    def _body(self, choices: list[ChunkChoice], usage: Usage | None = None) -> ChatCompletionChunk:
        return ChatCompletionChunk(id=self.id, created=self.created, model=self.model, choices=choices, usage=usage)

    def _usage(self, completion_tokens: int) -> Usage:
        prompt_tokens = self.generation.prompt_tokens
        total = prompt_tokens + completion_tokens
        return Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, total_tokens=total)


class Stream(StreamingResponse):
    """A stream whose generation ends with it, however it ends, even before its first byte."""

    def __init__(self, completion: Completion, include_usage: bool) -> None:
        super().__init__(completion.stream(include_usage), media_type="text/event-stream")
        self.headers["Cache-Control"] = "no-cache"
        self.headers["X-Accel-Buffering"] = "no"  # nginx would hold the stream back
        self._generation = completion.generation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._generation.abort()


async def unless_gone(request: Request, work: Coroutine[Any, Any, ChatCompletion]) -> ChatCompletion | Response:
    """The outcome of `work`, which is cancelled when the client leaves: a handler is not told of that by itself."""
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=DISCONNECT_POLL))[0]:
            if await request.is_disconnected():
                return Response(status_code=499)  # nobody reads it; nginx's number for a client that left
        return task.result()
    finally:
        task.cancel()


def check_model(requested: str | None, served: str) -> None:
    """Raises ApiError (404) for a name that is neither the served one nor any PaddleOCR-VL."""
    if requested is None or requested == served or FAMILY.search(requested):
        return
    message = f"The model {requested!r} does not exist. Served here: {served!r}; any PaddleOCR-VL name means it too."
    raise ApiError(404, message, param="model", code="model_not_found")


async def load_turns(messages: list[Message], limits: Limits) -> list[Turn]:
    """The conversation with its pictures decoded, off the event loop. Raises ApiError."""
    count = sum(isinstance(part, ImagePart) for message in messages for part in message.content)
    if count > limits.max_images:
        raise invalid(f"the request holds {count} pictures; {limits.max_images} are the most", "messages")
    turns = []
    for i, message in enumerate(messages):
        texts, pictures = [], []
        for j, part in enumerate(message.content):
            if isinstance(part, ImagePart):
                param = f"messages.{i}.content.{j}.image_url.url"
                pictures.append(await asyncio.to_thread(load_image, part.image_url.url, param, limits))
            else:
                texts.append(part.text)
        role = "system" if message.role == "developer" else message.role
        turns.append(Turn(role, "\n".join(texts), pictures))
    return turns


def sampling(body: ChatRequest) -> SamplingParams:
    """What a request leaves out is greedy, as the checkpoint's generation_config has it."""
    return SamplingParams(
        max_tokens=body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens,
        temperature=body.temperature or 0.0,
        top_p=1.0 if body.top_p is None else body.top_p,
        top_k=max(0, body.top_k or 0),
        seed=body.seed,
        stop=tuple(body.stop),
        skip_special_tokens=body.skip_special_tokens,
    )


def bounds(body: ChatRequest, own: PixelBounds) -> PixelBounds:
    """The bounds on a picture's size that a request asks for, over the checkpoint's own. Raises ApiError."""
    asked = body.mm_processor_kwargs
    least = asked.min_pixels or min(own.min_pixels, asked.max_pixels or own.min_pixels)
    most = asked.max_pixels or max(own.max_pixels, least)
    if least > most:
        raise invalid(f"min_pixels {least} is over max_pixels {most}", "mm_processor_kwargs.min_pixels")
    return PixelBounds(least, most)
