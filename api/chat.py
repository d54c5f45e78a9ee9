"""The chat route: from a validated request to its answer. A client disconnect cancels the generation."""

import asyncio
import math
import time
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response

from answers.answer import Answer
from answers.extraction import Extraction
from answers.finished import FinishedText
from answers.prompts import PendingPrompt
from answers.reading import Reading
from api.completion import Completion
from api.conversation import load_turns
from api.disconnect import CompletionStream, unless_gone
from api.documents import begun, document_of, sources_of
from api.errors import ApiError, invalid, responses, translated
from api.grounding import node_to_fill, structure_to_hold
from api.sampling import bounds, sampling, structure_of
from api.schema.requests import ChatRequest
from api.schema.responses import ChatCompletion
from api.serving import Serving, serving_of
from api.unknown_fields import unknown_fields
from engine.engine import Engine
from engine.errors import EngineError
from engine.handles import Hold
from engine.request import Deadline
from images.source import ImageSource
from modes.choose import Task, Turn, choose
from modes.registry import ALL_MODES

TIMEOUT = "x-request-timeout"
"""A header: seconds from a request's arrival to its answer's end.

The time-out that OpenAI's clients announce in a header of their own is for a pause in reading: streams may last longer.
"""

router = APIRouter()
STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


@router.post(
    "/v1/chat/completions",
    response_model=ChatCompletion,
    responses=STREAM | responses(400, 404, 408, 413, 429, 500, 503, 504),
)
async def chat_completions(body: ChatRequest, request: Request) -> Response:
    return await answer(body, request, serving_of(request))


@router.post("/v1/completions", include_in_schema=False)
def completions() -> None:
    raise ApiError(404, "This model reads images: send them to POST /v1/chat/completions.", code="not_found")


async def answer(body: ChatRequest, request: Request, serving: Serving) -> Response:
    """Run one request. Raises ApiError, ImageError; after the first byte of a stream, errors are events in it."""
    started = time.monotonic()
    serving.check_model(body.model)
    headers = unknown_fields(body, serving)
    _check_progress(body)
    deadline = deadline_of(request, serving)
    try:
        hold = serving.engine.hold(body.n, request.state.client, deadline, streamed=bool(body.stream))
        try:
            completion = await unless_gone(request, prepared(body, serving, hold, started))
        except BaseException:
            hold.release()
            raise
        request.state.completion = completion  # for the log's line on the request, and its trace
        if body.stream:
            return CompletionStream(completion, headers)
        whole = await unless_gone(request, completion.whole())
    except EngineError as error:
        raise translated(error) from error
    return Response(whole.model_dump_json(), media_type="application/json", headers=headers)


def _check_progress(body: ChatRequest) -> None:
    """Raises ApiError where progress is asked for that no one would see."""
    if body.ocr.page_images and not body.ocr.progress:
        raise invalid("ocr.page_images goes with ocr.progress: true", "ocr.page_images")
    if body.ocr.progress and not (body.stream and body.n == 1):
        raise invalid("ocr.progress is for the stream of one answer: stream: true, n: 1", "ocr.progress")


def deadline_of(request: Request, serving: Serving) -> Deadline | None:
    """The earlier of the server's deadline and the client's, both from the request's arrival. Raises ApiError."""
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
    """The task that the conversation and the request's own fields ask for. Raises ApiError."""
    try:
        task = choose(turns, body.mode)
    except ValueError as error:
        raise invalid(str(error), "mode") from error
    mode = ALL_MODES[task.mode]
    if body.table_format is not None:
        if not mode.takes_table_format:
            raise invalid(f"table_format is for the modes table and document; this is {task.mode}", "table_format")
        if structure_of(body) is not None:
            raise invalid(
                "table_format does not go with a structure, which says itself how its answer looks", "table_format"
            )
        task = task.with_finish(True)
    if task.finished and mode.one_image and len(task.prompts[0].images) > 1:
        raise invalid(f"{mode.name} reads one image at a time", "messages")
    return task


async def begin(body: ChatRequest, task: Task, serving: Serving, hold: Hold, started: float) -> Completion:
    """The completion, which releases `hold` at its end; its first page is queued.

    Raises ApiError, ImageError, EngineError.
    """
    wishes = document_of(body, task, serving.engine)
    warnings = [warning for prompt in task.prompts for image in prompt.images for warning in image.warnings]
    if wishes is not None:
        sources: list[ImageSource] = []
        answers: list[Answer] = [await begun(body, task, wishes, serving.engine, hold)]
    else:
        sources = sources_of(task) if body.ocr.progress else []
        answers = await _answers(body, task, serving.engine, hold)
    serving.metrics.asked(task.mode)
    return Completion(
        serving=serving,
        body=body,
        mode=task.mode,
        warnings=warnings,
        answers=answers,
        hold=hold,
        started=started,
        sources=sources,
    )


async def _answers(body: ChatRequest, task: Task, engine: Engine, hold: Hold) -> list[Answer]:
    """One answer for each choice, the first prompt of all queued. Raises ApiError, ImageError, EngineError."""
    structure = structure_of(body)
    node = node_to_fill(body, task, structure)
    held = None if node is not None else structure_to_hold(body, task, structure)
    if held is not None:
        if len(task.prompts) > 1:
            raise invalid("the answer to several pages has no structure; send the pages one by one", held.param)
        task = task.with_finish(False)  # the structure itself is the form
    first, *rest = [
        PendingPrompt(
            prompt=prompt,
            params=sampling(body, prompt, held, engine.defaults),
            bounds=[bounds(body.mm_processor_kwargs, image.detail, engine.bounds) for image in prompt.images],
            reused=node is not None or (body.n > 1 and len(task.prompts) > 1),
            orient=body.upright,
            unwarp=body.unwarp,
            divisible=prompt.is_text_of_one_image and held is None and not (body.ignore_eos or body.min_tokens),
        )
        for prompt in task.prompts
    ]
    task = replace(task, prompts=[])  # nothing else should hold their images
    answers: list[Answer] = []
    for choice, generation in enumerate(await first.submit(engine, hold, first.params)):
        whole = node is not None or not body.stream
        reading = Reading(engine=engine, hold=hold, choice=choice, cut_repeats=whole)
        reading.begin(first, generation)
        reading.add(rest)
        reading.close()
        if node is not None:
            as_null = body.doubtful == "null"
            answers.append(Extraction(engine=engine, reading=reading, node=node, doubtful_as_null=as_null))
        else:
            table_format = body.table_format or "auto"
            answers.append(FinishedText(reading=reading, table_format=table_format, streaming=body.stream))
    return answers
