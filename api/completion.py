"""The answer to one chat request, whole or as a stream of chunks, under one id."""

import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from answers.answer import Answer, merged
from answers.events import AnswerEvent
from api import sse
from api.account import Account
from api.errors import ApiError, translated, unexpected
from api.progress import Progress
from api.schema.requests import ChatRequest, StreamOptions
from api.schema.responses import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    Delta,
    OcrStep,
    PromptTokensDetails,
    Usage,
)
from api.serving import Serving
from api.steps import Steps
from engine.errors import EngineError
from engine.handles import Hold
from images.errors import ImageError
from images.source import ImageSource

logger = logging.getLogger(__name__)


class Completion:
    """The answers to one chat request, its choices, in OpenAI's shapes."""

    def __init__(
        self,
        *,
        serving: Serving,
        body: ChatRequest,
        mode: str,
        warnings: Sequence[str],
        answers: Sequence[Answer],
        hold: Hold,
        started: float,
        sources: Sequence[ImageSource] = (),
    ) -> None:
        """`warnings`: about the images. `started`: monotonic seconds. `hold` is released at the end.

        `sources`: as `Steps` has them.
        """
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self._serving, self._answers, self._hold = serving, answers, hold
        self._options = body.stream_options or StreamOptions()
        self._progress = [
            Progress(answer=answer, body=body, mode=mode, warnings=warnings, engine=serving.engine)
            for answer in answers
        ]
        self._steps = Steps(answers[0], sources, show=body.ocr.page_images) if body.ocr.progress else None
        self._account = Account(serving=serving, body=body, mode=mode, answers=answers, started=started)

    def abort(self) -> None:
        self._account.abort()
        for answer in self._answers:
            answer.abort()
        self._hold.release()

    async def whole(self) -> ChatCompletion:
        """Raises ApiError."""
        choices: dict[int, Choice] = {}
        try:
            async for index, event in self._events():
                if event.finish_reason is not None:
                    progress = self._progress[index]
                    choices[index] = Choice(
                        index=index,
                        message=progress.message(),
                        logprobs=progress.pop_logprobs(),
                        finish_reason=progress.finish_reason(event.finish_reason),
                        stop_reason=event.stop_reason,
                        ocr=progress.report(),
                    )
        except Exception as error:
            self._account.fail(error)
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
            for index, progress in enumerate(self._progress):
                yield self._chunk(ChunkChoice(index=index, delta=progress.first_delta()))
            if self._steps is not None and (step := await self._steps.first()) is not None:
                yield self._step_chunk(step)
            async for index, event in self._events():
                if self._steps is not None and (step := await self._steps.of(event)) is not None:
                    yield self._step_chunk(step)
                if event.content:
                    delta, logprobs = self._progress[index].delta(event.content), self._progress[index].pop_logprobs()
                    yield self._chunk(ChunkChoice(index=index, delta=delta, logprobs=logprobs))
                if event.finish_reason is not None:
                    yield self._last_chunk(index, event)
            if self._options.include_usage:
                yield sse.event(self._body_of([], self._usage()).model_dump())
        except (EngineError, ImageError, ApiError) as error:
            self._account.fail(error)
            yield sse.event((error if isinstance(error, ApiError) else translated(error)).body)
        except Exception as error:  # the response has begun: only an event can still say so
            logger.error("%s failed", self.id, exc_info=error)
            self._account.fail(error)
            yield sse.event(unexpected().body)
        finally:
            self.abort()
        yield sse.DONE

    async def _events(self) -> AsyncIterator[tuple[int, AnswerEvent]]:
        """Events of all answers, each counted. Raises ImageError, EngineError."""
        async for index, event in merged(self._answers):
            self._account.count(index, event)
            self._progress[index].add(event)
            yield index, event

    def _last_chunk(self, index: int, event: AnswerEvent) -> bytes:
        progress = self._progress[index]
        return self._chunk(
            ChunkChoice(
                index=index,
                delta=Delta(),
                logprobs=progress.pop_logprobs(),
                finish_reason=None if event.finish_reason is None else progress.finish_reason(event.finish_reason),
                stop_reason=event.stop_reason,
                ocr=progress.report(),
            )
        )

    def _step_chunk(self, step: OcrStep) -> bytes:
        return self._chunk(ChunkChoice(index=0, delta=Delta(), ocr=step))

    def _chunk(self, choice: ChunkChoice) -> bytes:
        usage = self._usage() if self._options.continuous_usage_stats else None
        body = self._body_of([choice], usage).model_dump()
        shown = body["choices"][0]
        shown["delta"] = choice.delta.model_dump(exclude_none=True)
        if choice.finish_reason is None:
            del shown["stop_reason"]
        if choice.ocr is None:
            del shown["ocr"]
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
        prompt = max(answer.usage.prompt for answer in self._answers)
        completion = sum(progress.completion_tokens for progress in self._progress)
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=self._answers[0].usage.cached),
        )

    def facts(self) -> dict[str, Any]:
        """Facts for the log and a trace, once the completion is over."""
        return self._account.facts(self.id, self._usage())

    def phases(self) -> Iterator[tuple[str, float, float]]:
        """Phases of the time taken, as `Account.phases`."""
        return self._account.phases()
