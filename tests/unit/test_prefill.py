"""Prefill within what memory holds: long prompts in chunks, large images scaled, slots shortened."""

import asyncio
from pathlib import Path

import pytest

from engine.config import DEFAULT_LENGTH
from engine.engine import Engine
from engine.request import TokenEvent
from models.protocol import PixelBounds
from tests.engines import collect, ids_of, running_engine, submit
from tests.prompts import noise_image, prompt

IMAGE = noise_image(300, 200)


def answer_about(engine: Engine) -> list[TokenEvent]:
    return asyncio.run(_answer_about(engine))


async def _answer_about(engine: Engine) -> list[TokenEvent]:
    return await collect(await submit(engine, [IMAGE], max_tokens=8, ignore_eos=True))


def test_a_prompt_in_chunks_gives_the_same_answer(checkpoint: Path) -> None:
    answers = []
    for chunk in (512, 7):
        with running_engine(checkpoint, weights="native") as engine:  # products of 16 bits round what differs in fp32
            assert engine.runner is not None
            engine.runner.prefill.chunk = chunk
            answers.append(answer_about(engine))
    whole, chunked = answers
    assert ids_of(chunked) == ids_of(whole)
    for one, other in zip(whole, chunked, strict=True):
        assert one.token is not None
        assert other.token is not None
        assert one.token.logprob == pytest.approx(other.token.logprob, abs=1e-4)


def test_prompts_of_a_group_are_read_together_in_spite_of_chunks(checkpoint: Path) -> None:
    with running_engine(checkpoint) as engine:
        assert engine.runner is not None
        alone = answer_about(engine)
        engine.runner.reset()
        engine.runner.prefill.chunk = 7

        async def together() -> list[list[TokenEvent]]:
            return await asyncio.gather(*(_answer_about(engine) for _ in range(3)))

        assert [ids_of(events) for events in asyncio.run(together())] == [ids_of(alone)] * 3


def test_an_image_that_memory_does_not_hold_is_scaled_down(checkpoint: Path) -> None:
    with running_engine(checkpoint) as engine:
        assert engine.loop.built is not None
        preparation = engine.loop.built.preparation
        large = PixelBounds(300 * 200, 600 * 400)
        whole = preparation.prompt(prompt(1), [IMAGE], [large])
        preparation._max_image_pixels = 100 * 100
        assert sum(preparation.prompt(prompt(1), [IMAGE], [large]).image_tokens) < sum(whole.image_tokens) / 4


@pytest.mark.parametrize(("free", "shorter"), [(2**36, False), (64 * 2**20, True)])
def test_the_length_of_a_slot_is_published_as_it_is(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, free: int, *, shorter: bool
) -> None:
    monkeypatch.setattr("engine.build.free_bytes", lambda _device: free)
    with running_engine(checkpoint, max_model_len=None, slots=None, image_cache_bytes=0) as engine:
        assert engine.runner is not None
        assert engine.max_model_len is not None
        assert engine.max_model_len == engine.runner.cache.scratch
        assert (engine.max_model_len < DEFAULT_LENGTH) == shorter
