"""Routes between text and token ids, as vLLM has them."""

import asyncio

from fastapi import APIRouter, Request

from answers.prompts import PendingPrompt
from api.conversation import load_turns
from api.disconnect import unless_gone
from api.errors import invalid, responses, translated
from api.sampling import bounds
from api.schema.requests import DetokenizeRequest, TokenizeRequest
from api.schema.responses import DetokenizeResponse, TokenizeResponse
from api.serving import Serving, serving_of
from engine.engine import Engine
from engine.errors import EngineError
from modes.choose import choose

router = APIRouter()


@router.post("/tokenize", responses=responses(400, 404, 408, 413, 429, 503))
async def tokenize(body: TokenizeRequest, request: Request) -> TokenizeResponse:
    serving = serving_of(request)
    serving.check_model(body.model)
    if (body.prompt is None) == (body.messages is None):
        raise invalid("give either prompt or messages", "prompt")
    engine = serving.engine
    try:
        if body.prompt is not None:
            tokens = await asyncio.to_thread(engine.encode_text, body.prompt)
        else:
            tokens = await _prompt_tokens(body, request, serving)
        strings = await asyncio.to_thread(_strings, engine, tokens) if body.return_token_strs else None
    except EngineError as error:
        raise translated(error) from error
    return TokenizeResponse(
        count=len(tokens),
        max_model_len=engine.max_model_len,
        tokens=tokens,
        token_strs=strings,
    )


@router.post("/detokenize", responses=responses(400, 404, 408, 413, 503))
def detokenize(body: DetokenizeRequest, request: Request) -> DetokenizeResponse:
    serving = serving_of(request)
    serving.check_model(body.model)
    try:
        return DetokenizeResponse(prompt=serving.engine.decode_tokens(body.tokens))
    except EngineError as error:
        raise translated(error) from error


async def _prompt_tokens(body: TokenizeRequest, request: Request, serving: Serving) -> list[int]:
    """Prompt token ids of a conversation; of a document, those of all its pages.

    Raises ApiError, ImageError, EngineError.
    """
    engine = serving.engine
    hold = engine.hold(client=request.state.client)

    async def tokens() -> list[int]:
        task = choose(await load_turns(body.messages or [], serving.limits, serving.decoder, hold))
        ids: list[int] = []
        for prompt in task.prompts:
            sizes = [bounds(body.mm_processor_kwargs, image.detail, engine.bounds) for image in prompt.images]
            ids += await PendingPrompt(prompt=prompt, params=[], bounds=sizes).token_ids(engine)
        return ids

    try:
        return await unless_gone(request, hold.unless_ended(asyncio.create_task(tokens())))
    finally:
        hold.release()


def _strings(engine: Engine, tokens: list[int]) -> list[str]:
    return [engine.token_bytes(token).decode(errors="replace") for token in tokens]
