"""Greedy answers through the engine equal transformers' own `generate`, alone and in the middle of a batch."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.engine import Engine
from engine.request import SamplingParams
from tests.checkpoints import write_checkpoint
from tests.conftest import running_engine
from tests.parity.conftest import Pair, assert_same_tokens, load_pair, picture, prompt, reference_greedy

REQUESTS: dict[str, tuple[list[tuple[int, int]], int]] = {  # name -> picture sizes, tokens to generate
    "small picture": ([(56, 28)], 30),
    "wide picture": ([(420, 30)], 9),
    "large picture": ([(240, 200)], 17),
    "two pictures": ([(84, 56), (30, 90)], 24),
    "text only": ([], 12),
    "tall picture": ([(28, 300)], 21),
}


def inputs(name: str) -> tuple[list[dict[str, Any]], list[Image.Image], int]:
    sizes, tokens = REQUESTS[name]
    pictures = [picture(*size, seed=seed) for seed, size in enumerate(sizes)]
    return prompt(len(pictures)), pictures, tokens


async def generated(engine: Engine, name: str, after: asyncio.Event | None = None) -> list[int]:
    """The tokens of one request, submitted once `after` is set."""
    messages, pictures, tokens = inputs(name)
    if after is not None:
        await after.wait()
    generation = await engine.submit(messages, pictures, SamplingParams(max_tokens=tokens))
    async for _ in generation:
        pass
    assert generation._sequence is not None
    return generation._sequence.tokens


def assert_as_reference(pair: Pair, name: str, tokens: list[int]) -> None:
    messages, pictures, count = inputs(name)
    assert_same_tokens(tokens, *reference_greedy(pair.reference, pair.processor.prepare(messages, pictures), count))


@pytest.mark.parametrize("name", REQUESTS)
def test_alone(pair: Pair, name: str) -> None:
    with running_engine(pair.folder, slots=1) as engine:
        assert_as_reference(pair, name, asyncio.run(generated(engine, name)))


def test_in_a_batch_whose_members_start_and_end_at_different_steps(pair: Pair) -> None:
    async def all_of_them(engine: Engine) -> list[list[int]]:
        # More requests than slots, of unequal lengths: they join whenever another one leaves.
        return await asyncio.gather(*(generated(engine, name) for name in REQUESTS))

    with running_engine(pair.folder, slots=3) as engine:
        answers = asyncio.run(all_of_them(engine))
    for name, tokens in zip(REQUESTS, answers, strict=True):
        assert_as_reference(pair, name, tokens)


def test_beside_requests_that_are_aborted(pair: Pair) -> None:
    async def with_aborts(engine: Engine) -> list[int]:
        messages, pictures, _ = inputs("large picture")
        leaving = [await engine.submit(messages, pictures, SamplingParams(max_tokens=200)) for _ in range(2)]
        staying = asyncio.create_task(generated(engine, "small picture"))
        for generation in leaving:
            async for event in generation:
                if event.completion_tokens == 3:
                    break
            generation.abort()
        return await staying

    with running_engine(pair.folder, slots=3) as engine:
        assert_as_reference(pair, "small picture", asyncio.run(with_aborts(engine)))


def test_with_a_tied_output_head(tmp_path: Path) -> None:
    pair = load_pair(write_checkpoint(tmp_path, tied=True, seed=3, min_pixels=784))
    with running_engine(pair.folder) as engine:
        assert_as_reference(pair, "two pictures", asyncio.run(generated(engine, "two pictures")))
