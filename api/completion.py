"""The answer to one chat request, whole or as a stream of chunks, under one id."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import pairwise
from typing import Any

from answers.extraction import Extraction
from answers.reading import Reading
from answers.transcript import Part
from api import logs, sse
from api.errors import ApiError, translated, unexpected
from api.metrics import End
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
    PromptTokensDetails,
    StreamOptions,
    TextPart,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from api.serving import Serving
from engine.errors import DeadlineExceeded, EngineError
from engine.handles import Hold
from engine.request import Token, TokenEvent
from images.errors import ImageError
from modes.choose import Task
from modes.finish import finisher_of
from modes.markdown import Finisher
from modes.schemas import Node

logger = logging.getLogger(__name__)


Answer = Reading | Extraction


class Progress:
    """How far one choice has come: what the model wrote, and what of it has gone out in its finished form."""

    def __init__(self, serving: Serving, body: ChatRequest, task: Task, answer: Answer, reading: Reading) -> None:
        self.answer = answer
        self.reading = reading
        self.content = ""  # finished, so far
        self.logprobs: list[tuple[int, TokenLogprob]] = []  # with the place in the transcript where the token came
        self.keep_chars: int | None = None  # of the content
        self._serving, self._body, self._task = serving, body, task
        self._finisher: Finisher | None = None  # of the page that is being read
        self._page = 0, 0  # where it begins in the transcript and in the content

    def add(self, event: TokenEvent) -> str:
        """What the event adds to the content; everything, at its end, where the answer goes out whole."""
        token, text = event.token, self.reading.transcript.text
        if self._body.logprobs and token is not None and not event.end_token:
            self.logprobs.append((len(text) - len(event.text), self._entry(token)))
        new = self._extracted(event) if isinstance(self.answer, Extraction) else self._finished(event)
        self.content += new
        return new

    def _extracted(self, event: TokenEvent) -> str:
        assert isinstance(self.answer, Extraction)
        return self.answer.form.content() if event.last and self.answer.form is not None else ""

    def _finished(self, event: TokenEvent) -> str:
        if event.token is None:  # between two pages
            new = self._end_page(len(self.reading.transcript.text) - len(event.text)) + event.text
            self._page = len(self.reading.transcript.text), len(self.content) + len(new)
            return new
        if self._finisher is None:
            self._finisher = self._new_finisher()
        if not self._body.stream:
            self._cut(event)
            return self._end_page(len(self.reading.transcript.text)) if event.last else ""
        new = self._finisher.push(event.text)
        if not event.last:
            return new
        new += self._end_page(len(self.reading.transcript.text))
        if event.keep_chars is not None:
            self.keep_chars = self._kept(event.keep_chars, self.content + new)
        return new

    def _end_page(self, end: int) -> str:
        """What is left of the page that ends there in the transcript."""
        finisher, self._finisher = self._finisher or self._new_finisher(), None
        raw = "" if self._body.stream else self.reading.transcript.text[self._page[0] : end]
        return finisher.push(raw) + finisher.end()

    def _new_finisher(self) -> Finisher:
        sizes = self.reading.pages[self.reading.page].sizes or [(0, 0)]
        return finisher_of(self._task, self._body.table_format or "auto", sizes[0], streaming=self._body.stream)

    def _cut(self, event: TokenEvent) -> None:
        """Drop what `keep_chars` says is repetition."""
        if event.keep_chars is not None:
            self.reading.transcript.cut(event.keep_chars)
            self.logprobs = [entry for entry in self.logprobs if entry[0] < event.keep_chars]

    def _kept(self, raw: int, content: str) -> int:
        """Characters of the content that come from the first `raw` of the transcript."""
        finisher = self._new_finisher()
        start, shown = self._page
        kept = content[:shown] + finisher.push(self.reading.transcript.text[start:raw]) + finisher.end()
        pairs = enumerate(zip(kept, content, strict=False))
        return next((i for i, (ours, sent) in pairs if ours != sent), min(len(kept), len(content)))

    def pop_logprobs(self) -> Logprobs | None:
        """Those since the last call; None if the request did not ask."""
        taken, self.logprobs = self.logprobs, []
        return Logprobs(content=[entry for _, entry in taken]) if self._body.logprobs else None

    def report(self) -> OcrReport:
        transcript = self.reading.transcript
        confidence = transcript.confidence
        extraction = self.answer if isinstance(self.answer, Extraction) else None
        return OcrReport(
            mode=self._task.mode,
            confidence=None if confidence is None else round(confidence, 6),
            lines=[self._line(line) for line in transcript.lines()] if self._body.ocr.words else None,
            keep_chars=self.keep_chars,
            fields=None if extraction is None else extraction.fields,
            checks=None if extraction is None else extraction.checks,
        )

    def _line(self, line: Part) -> OcrLine:
        words = [OcrWord(**self._part(word)) for word in self.reading.transcript.words(line)]
        return OcrLine(**self._part(line), words=words)

    def _part(self, part: Part) -> dict[str, Any]:
        return {"text": self.reading.transcript.text[part.start : part.end], "confidence": round(part.confidence, 6)}

    def _entry(self, token: Token) -> TokenLogprob:
        top = [self._logprob(*candidate) for candidate in token.top]
        return TokenLogprob(**self._logprob(token.id, token.logprob).model_dump(), top_logprobs=top)

    def _logprob(self, token: int, logprob: float) -> TopLogprob:
        data = self._serving.engine.token_bytes(token)
        return TopLogprob(token=data.decode(errors="replace"), logprob=logprob, bytes=list(data))


class Completion:
    def __init__(
        self,
        serving: Serving,
        body: ChatRequest,
        task: Task,
        readings: Sequence[Reading],
        node: Node | None,
        hold: Hold,
        started: float,
    ) -> None:
        """`node`: what each reading is to fill, where the answer is extracted from it; `started`: monotonic seconds."""
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self._started = started
        self._serving, self._body, self._task, self._readings = serving, body, task, readings
        self._hold = hold
        self._options = body.stream_options or StreamOptions()
        self._answers: list[Answer] = [*readings]
        if node is not None:
            self._answers = [Extraction(serving.engine, reading, node) for reading in readings]
        pairs = zip(self._answers, readings, strict=True)
        self._progress = [Progress(serving, body, task, answer, reading) for answer, reading in pairs]
        self._silent = set(range(len(readings)))  # answers without a token so far
        self._open = set(self._silent)  # answers without an end so far
        self._ends: dict[int, End] = {}
        self._began: float | None = None  # when the first token of all came

    def _count(self, index: int, event: TokenEvent) -> None:
        if index in self._silent:
            self._silent.remove(index)
            self._began = self._began or time.monotonic()
            self._serving.metrics.began(time.monotonic() - self._started)
        if event.finish_reason is not None:
            self._end({index}, event.finish_reason)

    def _end(self, indices: set[int], end: End) -> None:
        for index in indices & self._open:
            self._ends[index] = end
            self._serving.metrics.ended(end, time.monotonic() - self._started)
        self._open -= indices

    def abort(self) -> None:
        self._end(self._open, "abort")
        for answer in self._answers:
            answer.abort()
        self._hold.release()

    async def whole(self) -> ChatCompletion:
        """Raises ApiError."""
        choices: dict[int, Choice] = {}
        try:
            async for index, event in merged(self._answers):
                self._count(index, event)
                progress = self._progress[index]
                progress.add(event)
                if event.finish_reason is not None:
                    choices[index] = Choice(
                        index=index,
                        message=AnswerMessage(content=progress.content),
                        logprobs=progress.pop_logprobs(),
                        finish_reason=event.finish_reason,
                        stop_reason=event.stop_reason,
                        ocr=progress.report(),
                    )
        except Exception as error:
            self._end(self._open, _end_of(error))
            if isinstance(error, EngineError | ImageError):
                raise translated(error) from error
            raise
        finally:
            self.abort()
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
            async for index, event in merged(self._answers):
                self._count(index, event)
                progress = self._progress[index]
                if text := progress.add(event):
                    delta, logprobs = Delta(content=text), progress.pop_logprobs()
                    yield self._chunk(ChunkChoice(index=index, delta=delta, logprobs=logprobs))
                if event.finish_reason is not None:
                    yield self._last_chunk(index, event)
            if self._options.include_usage:
                yield sse.event(self._body_of([], self._usage()).model_dump())
        except (EngineError, ImageError, ApiError) as error:
            self._end(self._open, _end_of(error))
            yield sse.event((error if isinstance(error, ApiError) else translated(error)).body)
        except Exception as error:  # the response has begun: only an event can still say so
            logger.error("%s failed", self.id, exc_info=error)
            self._end(self._open, "error")
            yield sse.event(unexpected().body)
        finally:
            self.abort()
        yield sse.DONE

    def _last_chunk(self, index: int, event: TokenEvent) -> bytes:
        progress = self._progress[index]
        return self._chunk(
            ChunkChoice(
                index=index,
                delta=Delta(),
                logprobs=progress.pop_logprobs(),
                finish_reason=event.finish_reason,
                stop_reason=event.stop_reason,
                ocr=progress.report(),
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
        cached = PromptTokensDetails(cached_tokens=self._readings[0].cached_tokens)
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=answers,
            total_tokens=prompt + answers,
            prompt_tokens_details=cached,
        )

    def facts(self) -> dict[str, Any]:
        """What the log and a trace tell of it, once it is over; the texts only where an operator asks for them."""
        usage, body, first = self._usage(), self._body, self._answers[0].times[0]
        facts = {
            "id": self.id,
            "model": self._serving.model,
            "mode": self._task.mode,
            "stream": body.stream,
            "pictures": sum(len(page.bounds) for page in self._readings[0].pages),
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": self._readings[0].cached_tokens,
            "completion_tokens": usage.completion_tokens,
            "load_seconds": _seconds(self._started, first.submitted),
            "queue_seconds": _seconds(first.submitted, first.scheduled),
            "first_token_seconds": _seconds(self._started, self._began),
            "finish_reasons": [self._ends.get(index, "abort") for index in range(len(self._answers))],
            "user": body.user and logs.cut(body.user, 512),
            "metadata": body.metadata and {logs.cut(k, 64): logs.cut(v, 512) for k, v in [*body.metadata.items()][:16]},
        }
        if self._serving.log_texts:
            parts = [part for message in body.messages for part in message.content]
            facts["prompt"] = logs.cut("\n".join(part.text for part in parts if isinstance(part, TextPart)))
            facts["answers"] = [logs.cut(progress.content) for progress in self._progress]
        return {name: value for name, value in facts.items() if value is not None}

    def phases(self) -> Iterator[tuple[str, float, float]]:
        """What the time went to: names with begin and end, in monotonic seconds; those of several answers overlap."""
        everything = [times for answer in self._answers for times in answer.times]
        yield "load", self._started, min(times.submitted for times in everything)
        for t in everything:
            marks = (t.submitted, t.scheduled, t.encoded, t.began, t.newest)
            for name, (begin, end) in zip(("queue", "encode", "prefill", "decode"), pairwise(marks), strict=True):
                if begin is not None and end is not None:
                    yield name, begin, end


def _end_of(error: Exception) -> End:
    return "deadline" if isinstance(error, DeadlineExceeded) else "error"


def _seconds(begin: float, end: float | None) -> float | None:
    return None if end is None else round(end - begin, 4)


async def merged(answers: Sequence[Answer]) -> AsyncIterator[tuple[int, TokenEvent]]:
    """The events of several answers as they come, each with the number of its answer. Raises as they do."""
    if len(answers) == 1:
        async for event in answers[0].events():
            yield 0, event
        return
    events: asyncio.Queue[tuple[int, TokenEvent] | None] = asyncio.Queue()
    taken = [asyncio.Semaphore(0) for _ in answers]  # an answer waits with its event: its transcript is just so far

    async def forward(index: int) -> None:
        async for event in answers[index].events():
            events.put_nowait((index, event))
            await taken[index].acquire()

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
            taken[item[0]].release()
        await _first_error(task)
    finally:
        task.cancel()


async def _first_error(task: "asyncio.Task[None]") -> None:
    try:
        await task
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
