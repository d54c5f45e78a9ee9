"""The request's fields -> sampling parameters, structure and pixel bounds; conflicts between fields are found here."""

import json
from typing import Any

from api.errors import invalid
from api.schema.requests import ChatRequest, ImageOptions, JsonObjectFormat, JsonSchemaFormat
from api.tools import forced_tool, parameters
from engine.repetition import RepetitionLimits
from engine.request import SamplingParams, Structure
from images.source import Detail
from models.protocol import PixelBounds
from modes.choose import Prompt
from modes.registry import ALL_MODES, max_repeats

MAX_DEFINITION = 120_000  # characters of a structure, as at OpenAI; longer ones take seconds to compile
ANY_OBJECT = {"type": "object"}
DETAIL_PIXELS: dict[Detail, int] = {
    "low": 512 * 512,  # OpenAI's own size for it
    "high": 1_605_632,  # PaddleOCR's bound for spotting, the task that needs the most
}


def sampling(
    body: ChatRequest, prompt: Prompt, structure: Structure | None, defaults: SamplingParams
) -> list[SamplingParams]:
    """Sampling of a prompt for each choice; seeds count up. `defaults` are the checkpoint's own. Raises ApiError."""
    keeps_special_tokens = prompt.finished and ALL_MODES[prompt.mode].keep_special_tokens
    limit = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    _check(body, limit, structure)
    seeds = [None if body.seed is None else body.seed + number for number in range(body.n)]
    return [
        SamplingParams(
            max_tokens=limit,
            temperature=_given(body.temperature, defaults.temperature),
            top_p=_given(body.top_p, defaults.top_p),
            top_k=max(0, _given(body.top_k, defaults.top_k)),
            min_p=_given(body.min_p, defaults.min_p),
            presence_penalty=body.presence_penalty,
            frequency_penalty=body.frequency_penalty,
            repetition_penalty=_given(body.repetition_penalty, defaults.repetition_penalty),
            logit_bias=body.logit_bias,
            top_logprobs=body.top_logprobs,
            seed=seed,
            stop=tuple(body.stop),
            ignore_eos=body.ignore_eos,
            min_tokens=body.min_tokens,
            skip_special_tokens=body.skip_special_tokens and not keeps_special_tokens,
            structure=structure,
            repetition=repetition(body, prompt.mode),
        )
        for seed in seeds
    ]


def _given(value: Any, default: Any) -> Any:
    return default if value is None else value


def _check(body: ChatRequest, limit: int | None, structure: Structure | None) -> None:
    if body.stream_options is not None and not body.stream:
        raise invalid("stream_options needs stream: true", "stream_options")
    if body.top_logprobs and not body.logprobs:
        raise invalid("top_logprobs needs logprobs: true", "top_logprobs")
    if limit is not None and body.min_tokens > limit:
        raise invalid(f"min_tokens {body.min_tokens} is over max_tokens {limit}", "min_tokens")
    if structure is not None and (body.ignore_eos or body.min_tokens):
        param = "ignore_eos" if body.ignore_eos else "min_tokens"
        raise invalid(f"{param} does not go with {structure.param}: a structure says itself where it ends", param)


def structure_of(body: ChatRequest) -> Structure | None:
    """The one structure that a request asks for. Raises ApiError if it asks for several."""
    outputs = body.structured_outputs
    asked: dict[str, tuple[Any, Any]] = {  # field -> kind, definition
        "guided_json": ("json_schema", body.guided_json),
        "guided_regex": ("regex", body.guided_regex),
        "guided_choice": ("choice", body.guided_choice),
        "guided_grammar": ("grammar", body.guided_grammar),
    }
    if outputs is not None:
        asked |= {
            "structured_outputs.json": ("json_schema", outputs.json_),
            "structured_outputs.json_object": ("json_schema", ANY_OBJECT if outputs.json_object else None),
            "structured_outputs.regex": ("regex", outputs.regex),
            "structured_outputs.choice": ("choice", outputs.choice),
            "structured_outputs.grammar": ("grammar", outputs.grammar),
        }
    tool = forced_tool(body)
    if tool is not None:
        asked["tools"] = ("json_schema", parameters(tool))
    if isinstance(body.response_format, JsonObjectFormat):
        asked["response_format"] = ("json_schema", ANY_OBJECT)
    if isinstance(body.response_format, JsonSchemaFormat):
        asked["response_format"] = ("json_schema", body.response_format.json_schema.schema_)
    found = [
        Structure(kind, definition if isinstance(definition, str) else json.dumps(definition), param)
        for param, (kind, definition) in asked.items()
        if definition is not None
    ]
    if len(found) > 1:
        raise invalid(f"only one of {', '.join(one.param for one in found)} can hold", found[1].param)
    if not found:
        return None
    if len(found[0].definition) > MAX_DEFINITION:
        param = found[0].param
        raise invalid(f"{param} has {len(found[0].definition)} characters; at most {MAX_DEFINITION} are allowed", param)
    return found[0]


def repetition(body: ChatRequest, mode: str) -> RepetitionLimits | None:
    """Limits of repetition; None if the request lets loops run, or asks for tokens up to its limit."""
    asked = body.repetition_detection
    if asked is False or body.ignore_eos:
        return None
    if asked.min_pattern_size > asked.max_pattern_size:
        message = f"min_pattern_size {asked.min_pattern_size} is over max_pattern_size {asked.max_pattern_size}"
        raise invalid(message, "repetition_detection.min_pattern_size")
    return RepetitionLimits(
        max_pattern_size=asked.max_pattern_size,
        min_pattern_size=asked.min_pattern_size,
        min_count=_given(asked.min_count, max_repeats(mode)),
    )


def bounds(asked: ImageOptions, detail: Detail, own: PixelBounds) -> PixelBounds:
    """The bounds on an image's size: the request's in pixels, else by its detail, else the checkpoint's own.

    The request's maximum holds against its minimum too: PaddleOCR's client sends the same minimum whatever maximum its
    user sets.
    """
    usual = DETAIL_PIXELS.get(detail, own.max_pixels)
    min_pixels = asked.min_pixels or own.min_pixels
    max_pixels = asked.max_pixels or (max(usual, min_pixels) if asked.min_pixels else usual)
    return PixelBounds(min(min_pixels, max_pixels), max_pixels)
