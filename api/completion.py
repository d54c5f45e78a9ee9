"""The answer to one chat request, whole or as a stream of chunks, under one id."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from api import sse
from api.errors import ApiError, translated
from api.reading import Reading
from api.schema import (
    AnswerMessage,
    ChatCompletion,
    ChatCompletionChunk,
    ChatRequest,
    Choice,
    ChunkChoice,
    Delta,
    Logprobs,
    OcrLine,
    OcrReport,
    OcrWord,
    StreamOptions,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from api.serving import Serving
from engine.errors import EngineError
from engine.request import Token, TokenEvent
from modes.transcript import Part, Transcript

logger = logging.getLogger(__name__)


class Progress:
    """How far one choice has come."""

    def __init__(self, serving: Serving, body: ChatRequest, mode: str) -> None:
        self.transcript = Transcript()
        self.logprobs: list[tuple[int, TokenLogprob]] = []  # with the place in the text where the token came
        self.keep_chars: int | None = None
        self._serving, self._body, self._mode = serving, body, mode
        self._page = 0  # where it begins in the text

    def take(self, event: TokenEvent) -> None:
        token = event.token
        if self._body.logprobs and token is not None and not event.end_token:
            self.logprobs.append((len(self.transcript.text), self._entry(token)))
        self.transcript.add(event.text, None if token is None else token.logprob)
        self.keep_chars = None if event.keep_chars is None else self._page + event.keep_chars
        if token is None:  # a page separator
            self._page = len(self.transcript.text)
        if event.last:
            self.transcript.end()

    def cut(self) -> None:
        """Drop what `keep_chars` says is repetition."""
        if self.keep_chars is not None:
            self.transcript.cut(self.keep_chars)
            self.logprobs = [entry for entry in self.logprobs if entry[0] < self.keep_chars]

    def take_logprobs(self) -> Logprobs | None:
        """Those since the last call; None if the request did not ask."""
        taken, self.logprobs = self.logprobs, []
        return Logprobs(content=[entry for _, entry in taken]) if self._body.logprobs else None

    def report(self, *, keep_chars: int | None = None) -> OcrReport:
        confidence = self.transcript.confidence
        lines = [self._line(line) for line in self.transcript.lines()] if self._body.ocr.words else None
        return OcrReport(
            mode=self._mode,
            confidence=None if confidence is None else round(confidence, 6),
            lines=lines,
            keep_chars=keep_chars,
        )

    def _line(self, line: Part) -> OcrLine:
        words = [OcrWord(**self._part(word)) for word in self.transcript.words(line)]
        return OcrLine(**self._part(line), words=words)

    def _part(self, part: Part) -> dict[str, Any]:
        return {"text": self.transcript.text[part.start : part.end], "confidence": round(part.confidence, 6)}

    def _entry(self, token: Token) -> TokenLogprob:
        top = [self._logprob(*candidate) for candidate in token.top]
        return TokenLogprob(**self._logprob(token.id, token.logprob).model_dump(), top_logprobs=top)

    def _logprob(self, token: int, logprob: float) -> TopLogprob:
        data = self._serving.engine.token_bytes(token)
        return TopLogprob(token=data.decode(errors="replace"), logprob=logprob, bytes=list(data))


class Completion:
    def __init__(self, serving: Serving, body: ChatRequest, mode: str, readings: Sequence[Reading]) -> None:
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self._started = time.monotonic()
        self._serving, self._body, self._mode, self._readings = serving, body, mode, readings
        self._options = body.stream_options or StreamOptions()
        self._progress = [Progress(serving, body, mode) for _ in readings]

    def abort(self) -> None:
        for reading in self._readings:
            reading.abort()

    async def whole(self) -> ChatCompletion:
        """Raises ApiError."""
        choices: dict[int, Choice] = {}
        try:
            async for index, event in merged(self._readings):
                progress = self._progress[index]
                progress.take(event)
                progress.cut()
                if event.finish_reason is not None:
                    choices[index] = Choice(
                        index=index,
                        message=AnswerMessage(content=progress.transcript.text),
                        logprobs=progress.take_logprobs(),
                        finish_reason=event.finish_reason,
                        stop_reason=event.stop_reason,
                        ocr=progress.report(),
                    )
        except EngineError as error:
            raise translated(error) from error
        finally:
            self.abort()
            self._log()
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self._serving.model,
            system_fingerprint=self._serving.fingerprint,
            choices=[choices[index] for index in sorted(choices)],
            usage=self._usage(),
        )

    async def stream(self) -> AsyncIterator[bytes]:
        """OpenAI's order: the role, the text, the reason for the end, the usage if asked for, [DONE]."""
        try:
            for index in range(len(self._readings)):
                yield self._chunk(ChunkChoice(index=index, delta=Delta(role="assistant", content="")))
            async for index, event in merged(self._readings):
                progress = self._progress[index]
                progress.take(event)
                if event.text:
                    delta, logprobs = Delta(content=event.text), progress.take_logprobs()
                    yield self._chunk(ChunkChoice(index=index, delta=delta, logprobs=logprobs))
                if event.finish_reason is not None:
                    yield self._last_chunk(index, event)
            if self._options.include_usage:
                yield sse.event(self._body_of([], self._usage()).model_dump())
        except (EngineError, ApiError) as error:
            yield sse.event((error if isinstance(error, ApiError) else translated(error)).body)
        finally:
            self.abort()
            self._log()
        yield sse.DONE

    def _last_chunk(self, index: int, event: TokenEvent) -> bytes:
        progress = self._progress[index]
        return self._chunk(
            ChunkChoice(
                index=index,
                delta=Delta(),
                logprobs=progress.take_logprobs(),
                finish_reason=event.finish_reason,
                stop_reason=event.stop_reason,
                ocr=progress.report(keep_chars=progress.keep_chars),
            )
        )

    def _chunk(self, choice: ChunkChoice) -> bytes:
        usage = self._usage() if self._options.continuous_usage_stats else None
        body = self._body_of([choice], usage).model_dump()
        shown = body["choices"][0]
        shown["delta"] = choice.delta.model_dump(exclude_none=True)
        if choice.finish_reason is None:
            del shown["stop_reason"], shown["ocr"]
        if not self._options.include_usage and usage is None:
            del body["usage"]  # with the usage asked for, it is null in every chunk but the last
        return sse.event(body)

    def _body_of(self, choices: list[ChunkChoice], usage: Usage | None) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self.id,
            created=self.created,
            model=self._serving.model,
            system_fingerprint=self._serving.fingerprint,
            choices=choices,
            usage=usage,
        )

    def _usage(self) -> Usage:
        """The prompt counts once, however many answers it gets."""
        prompt = max(reading.prompt_tokens for reading in self._readings)
        answers = sum(reading.completion_tokens for reading in self._readings)
        return Usage(prompt_tokens=prompt, completion_tokens=answers, total_tokens=prompt + answers)

    def _log(self) -> None:
        usage, body = self._usage(), self._body
        logger.info(
            "%s: mode %s, %d prompt and %d answer tokens, %.2f s, user %r, metadata %r",
            self.id,
            self._mode,
            usage.prompt_tokens,
            usage.completion_tokens,
            time.monotonic() - self._started,
            body.user,
            body.metadata,
        )


async def merged(readings: Sequence[Reading]) -> AsyncIterator[tuple[int, TokenEvent]]:
    """The events of several answers as they come, each with the number of its answer. Raises as they do."""
    if len(readings) == 1:
        async for event in readings[0].events():
            yield 0, event
        return
    events: asyncio.Queue[tuple[int, TokenEvent] | None] = asyncio.Queue()

    async def forward(index: int) -> None:
        async for event in readings[index].events():
            events.put_nowait((index, event))

    async def forward_all() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for index in range(len(readings)):
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
