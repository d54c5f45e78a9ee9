"""Greedy answers through the engine equal transformers' own `generate`: alone, in a batch, and on a used slot.

All of it twice: in step with the device, as on a CPU, and behind its launches with captured steps, as on a GPU.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import pytest
from PIL import Image

from engine.engine import Engine
from engine.request import SamplingParams, TokenEvent
from tests.checkpoints import write_checkpoint
from tests.engines import running_engine
from tests.parity.pair import Pair, assert_same_tokens, load_pair, reference_greedy
from tests.prompts import common_length, noise_image, prompt

pytestmark = pytest.mark.usefixtures("each_way")

REQUESTS: dict[str, tuple[list[tuple[int, int]], int]] = {  # name -> image sizes, tokens to generate
    "small image": ([(56, 28)], 30),
    "wide image": ([(420, 30)], 9),
    "large image": ([(240, 200)], 17),
    "two images": ([(84, 56), (30, 90)], 24),
    "text only": ([], 12),
    "tall image": ([(28, 300)], 21),
}


def inputs(name: str) -> tuple[list[dict[str, Any]], list[Image.Image], int]:
    sizes, tokens = REQUESTS[name]
    images = [noise_image(*size, seed=seed) for seed, size in enumerate(sizes)]
    return prompt(len(images)), images, tokens


async def generated(engine: Engine, name: str) -> list[int]:
    """The tokens of one request."""
    messages, images, tokens = inputs(name)
    generation = await engine.submit(messages, images, SamplingParams(max_tokens=tokens))
    async for _ in generation:
        pass
    return generation._sequence.tokens


def assert_as_reference(pair: Pair, name: str, tokens: list[int]) -> None:
    messages, images, count = inputs(name)
    assert_same_tokens(tokens, *reference_greedy(pair.reference, pair.processor.prepare(messages, images), count))


@pytest.mark.parametrize("name", REQUESTS)
def test_alone(pair: Pair, name: str) -> None:
    with running_engine(pair.folder, slots=1) as engine:
        assert_as_reference(pair, name, asyncio.run(generated(engine, name)))


def test_in_a_batch_of_requests_that_start_and_end_at_different_steps(pair: Pair) -> None:
    async def all_of_them(engine: Engine) -> list[list[int]]:
        # More requests than slots, of unequal lengths: they join whenever another one ends.
        return await asyncio.gather(*(generated(engine, name) for name in REQUESTS))

    with running_engine(pair.folder, slots=3) as engine:
        answers = asyncio.run(all_of_them(engine))
    for name, tokens in zip(REQUESTS, answers, strict=True):
        assert_as_reference(pair, name, tokens)


def test_alongside_aborted_requests(pair: Pair) -> None:
    async def with_aborts(engine: Engine) -> list[int]:
        messages, images, _ = inputs("large image")
        leaving = [await engine.submit(messages, images, SamplingParams(max_tokens=200)) for _ in range(2)]
        staying = asyncio.create_task(generated(engine, "small image"))
        for generation in leaving:
            async for event in generation:
                if event.completion_tokens == 3:
                    break
            generation.abort()
        return await staying

    with running_engine(pair.folder, slots=3) as engine:
        assert_as_reference(pair, "small image", asyncio.run(with_aborts(engine)))


def test_with_a_tied_output_head(tmp_path: Path) -> None:
    pair = load_pair(write_checkpoint(tmp_path, tied=True, seed=3, min_pixels=784))
    with running_engine(pair.folder) as engine:
        assert_as_reference(pair, "two images", asyncio.run(generated(engine, "two images")))


# --- prompts whose beginning an earlier one has left in the slot ------------------------------------------------------

TWO_IMAGES = [noise_image(120, 90, seed=8), noise_image(60, 140, seed=9)]
OTHERS = ("tall image", "small image")  # other requests of the same batch
FIRST, SECOND = prompt(2, "Table Recognition:"), prompt(2, "Which of them is wider?")


async def asked(engine: Engine, messages: list[dict[str, Any]], **params: Any) -> list[TokenEvent]:
    generation = await engine.submit(messages, TWO_IMAGES, SamplingParams(**params))
    return [event async for event in generation]


def tokens_of(events: Sequence[TokenEvent]) -> list[int]:
    return [event.token.id for event in events if event.token is not None]


def assert_answered_as_reference(pair: Pair, messages: list[dict[str, Any]], events: Sequence[TokenEvent]) -> None:
    reference = reference_greedy(pair.reference, pair.processor.prepare(messages, TWO_IMAGES), len(events))
    assert_same_tokens(tokens_of(events), *reference)


def shared_tokens(pair: Pair, *prompts: list[dict[str, Any]]) -> int:
    return common_length(*(pair.processor.prepare(messages, TWO_IMAGES).input_ids for messages in prompts))


def test_a_second_question_about_the_same_images(pair: Pair) -> None:
    async def both(engine: Engine) -> list[TokenEvent]:
        await asked(engine, FIRST, max_tokens=10)
        return await asked(engine, SECOND, max_tokens=25)

    with running_engine(pair.folder, slots=1) as engine:
        events = asyncio.run(both(engine))
    assert events[-1].cached_tokens == shared_tokens(pair, FIRST, SECOND) > 12 + 10  # the tokens of both images
    assert_answered_as_reference(pair, SECOND, events)


def test_a_second_question_in_a_batch(pair: Pair) -> None:
    async def together(engine: Engine) -> tuple[list[TokenEvent], list[list[int]]]:
        await asked(engine, FIRST, max_tokens=10)
        others = [asyncio.create_task(generated(engine, name)) for name in OTHERS]
        return await asked(engine, SECOND, max_tokens=25), await asyncio.gather(*others)

    with running_engine(pair.folder, slots=3) as engine:
        events, others = asyncio.run(together(engine))
    assert events[-1].cached_tokens == shared_tokens(pair, FIRST, SECOND)
    assert_answered_as_reference(pair, SECOND, events)
    for name, tokens in zip(OTHERS, others, strict=True):
        assert_as_reference(pair, name, tokens)


def test_a_conversation_continues_after_its_answer(pair: Pair) -> None:
    """The second turn's prompt is the first one's, its answer, and more text."""
    letters = {pair.processor.tokenizer.convert_tokens_to_ids(letter): 1000.0 for letter in ascii_lowercase}
    said: list[TokenEvent] = []

    async def two_turns(engine: Engine) -> tuple[list[dict[str, Any]], list[TokenEvent]]:
        said.extend(await asked(engine, FIRST, max_tokens=12, logit_bias=letters))
        text = "".join(event.text for event in said)
        answer = {"role": "assistant", "content": [{"type": "text", "text": text}]}
        messages = [*FIRST, answer, *prompt(0, "And now in German, please.")]
        return messages, await asked(engine, messages, max_tokens=25)

    with running_engine(pair.folder, slots=1) as engine:
        messages, events = asyncio.run(two_turns(engine))
    read = len(pair.processor.prepare(FIRST, TWO_IMAGES).input_ids) + len(tokens_of(said)) - 1
    assert len(set(tokens_of(said))) > 3
    assert events[-1].cached_tokens == read
    assert_answered_as_reference(pair, messages, events)
