"""The request's fields as the engine gets them, where a number shows more than an answer would."""

from typing import Any

import pytest

from api.sampling import bounds, sampling
from api.schema.requests import ChatRequest, ImageOptions
from engine.request import SamplingParams
from images.source import Detail
from models.protocol import PixelBounds
from modes.choose import Prompt

OWN = PixelBounds(112_896, 1_003_520)


def taken(mode: str = "ocr", defaults: SamplingParams | None = None, **fields: Any) -> SamplingParams:
    body = ChatRequest.model_validate({"messages": [{"role": "user", "content": "x"}], **fields})
    return sampling(body, Prompt([], [], mode), None, defaults or SamplingParams())[0]


@pytest.mark.parametrize(
    ("detail", "expected"),
    [("auto", OWN), ("low", (112_896, 512 * 512)), ("high", (112_896, 1_605_632))],
)
def test_detail_sets_the_most_pixels(detail: Detail, expected: tuple[int, int]) -> None:
    assert bounds(ImageOptions(), detail, OWN) == expected


def test_pixels_of_the_request_go_before_its_detail() -> None:
    assert bounds(ImageOptions(min_pixels=200_000, max_pixels=300_000), "low", OWN) == (200_000, 300_000)
    assert bounds(ImageOptions(max_pixels=50_000), "auto", OWN) == (50_000, 50_000)
    assert bounds(ImageOptions(min_pixels=2_000_000), "auto", OWN) == (2_000_000, 2_000_000)


def test_the_most_pixels_of_a_request_hold_against_its_least_as_paddleocrs_client_needs_it() -> None:
    assert bounds(ImageOptions(min_pixels=112_896, max_pixels=50_000), "auto", OWN) == (50_000, 50_000)


def test_what_is_left_out_is_the_checkpoints_default() -> None:
    own = SamplingParams(temperature=0.7, top_p=0.9, top_k=5, min_p=0.1, repetition_penalty=1.1)
    params = taken(defaults=own)
    assert (params.temperature, params.top_p, params.top_k, params.min_p) == (0.7, 0.9, 5, 0.1)
    assert taken(defaults=own, temperature=0, top_k=-1).temperature == 0
    assert taken(defaults=own, top_k=-1).top_k == 0


def test_tables_may_repeat_longer_than_text() -> None:
    text, table = taken("ocr").repetition, taken("table").repetition
    assert text is not None
    assert table is not None
    assert (text.min_count, table.min_count) == (50, 5000)
