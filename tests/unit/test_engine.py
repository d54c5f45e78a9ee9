"""The engine as its callers see it, on a small random checkpoint."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch

from engine.engine import Engine
from engine.errors import InvalidRequest, QueueFull
from engine.pace import Pace
from engine.request import SamplingParams, TokenEvent
from engine.request import Sequence as EngineSequence
from tests.engines import answer, collect, running_engine, submit
from tests.prompts import noise_image, prompt


def test_max_tokens_ends_an_answer_with_length(engine: Engine) -> None:
    events = answer(engine, max_tokens=7)
    assert events[-1].finish_reason == "length"
    assert events[-1].completion_tokens == 7


def test_every_step_is_one_event(engine: Engine) -> None:
    assert [event.completion_tokens for event in answer(engine, max_tokens=5)] == [1, 2, 3, 4, 5]


def test_max_tokens_is_clamped_to_the_context(checkpoint: Path) -> None:
    with running_engine(checkpoint, max_model_len=64) as engine:

        async def run() -> tuple[int, list[TokenEvent]]:
            generation = await submit(engine, max_tokens=10_000)
            return generation.prompt_tokens, await collect(generation)

        prompt_tokens, events = asyncio.run(run())
        assert prompt_tokens + events[-1].completion_tokens == 64
        assert events[-1].finish_reason == "length"


def test_a_prompt_that_does_not_fit_is_refused_with_its_numbers(checkpoint: Path) -> None:
    refusal = pytest.raises(InvalidRequest, match=r"has \d{3} tokens.* context is 64 tokens")
    with running_engine(checkpoint, max_model_len=64) as engine, refusal:
        asyncio.run(submit(engine, [noise_image(560, 560)]))


def test_a_stop_string_ends_an_answer(engine: Engine) -> None:
    text = "".join(event.text for event in answer(engine, max_tokens=40))
    stop = text[5:8]
    events = answer(engine, max_tokens=40, stop=(stop,))
    assert "".join(event.text for event in events) == text[: text.index(stop)]
    assert events[-1].finish_reason == "stop"


def test_a_seed_makes_sampling_repeatable(engine: Engine) -> None:
    def text(seed: int) -> str:
        return "".join(event.text for event in answer(engine, max_tokens=20, temperature=1.5, seed=seed))

    assert text(1) == text(1)
    assert text(1) != text(2)


def test_all_events_arrive_with_more_requests_than_slots(engine: Engine) -> None:
    async def run() -> list[list[TokenEvent]]:
        generations = [await submit(engine, max_tokens=3 + number) for number in range(12)]
        return await asyncio.gather(*map(collect, generations))

    assert [events[-1].completion_tokens for events in asyncio.run(run())] == list(range(3, 15))


def test_an_abort_takes_effect_by_the_end_of_the_launched_step(engine: Engine) -> None:
    async def run() -> tuple[int, int]:
        leaving = await submit(engine, max_tokens=300)
        async for event in leaving:
            if event.completion_tokens == 2:
                break
        leaving.abort()
        # The inbox is emptied in order: this one starts after the abort took effect.
        await collect(await submit(engine, max_tokens=20))
        return len(leaving._sequence.tokens), leaving._events.qsize()

    tokens, unread = asyncio.run(run())
    assert tokens < 20  # the other request alone made twenty steps
    assert unread == tokens - 2
    assert engine.stats().free_slots == 4


def test_an_aborted_request_that_waits_never_runs(checkpoint: Path) -> None:
    with running_engine(checkpoint, slots=1) as engine:

        async def run() -> int:
            running = await submit(engine, max_tokens=30)
            waiting = await submit(engine, max_tokens=30)
            waiting.abort()
            await collect(running)
            await collect(await submit(engine, max_tokens=1))
            return len(waiting._sequence.tokens)

        assert asyncio.run(run()) == 0


def test_an_abort_after_the_end_is_harmless(engine: Engine) -> None:
    async def run() -> None:
        generation = await submit(engine, max_tokens=2)
        await collect(generation)
        generation.abort()
        await collect(await submit(engine, max_tokens=2))

    asyncio.run(run())
    assert engine.stats().free_slots == 4


@pytest.mark.usefixtures("each_way")
def test_running_streams_continue_while_an_image_is_prefilled(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug: a prompt was prefilled in one step, and a big image paused all other streams."""
    monkeypatch.setattr(Pace, "prefill_seconds", lambda *_, **__: 0.0)  # a slice a step
    with running_engine(checkpoint, max_model_len=4096) as engine:

        async def run() -> tuple[int, int]:
            stream = await submit(engine, max_tokens=2000)
            events = aiter(stream)
            await anext(events)
            other = await submit(engine, [noise_image(300, 300)], max_tokens=1)
            before = (await anext(events)).completion_tokens
            reading = asyncio.create_task(collect(other))
            while not reading.done():
                after = (await anext(events)).completion_tokens
            stream.abort()
            return before, after

        before, after = asyncio.run(run())
        assert engine.processor is not None
        layers = engine.processor.config.vision_config.num_hidden_layers
        assert after - before >= 3 * layers  # projections, attention and the rest of each


@pytest.mark.usefixtures("each_way")
def test_prompts_that_do_not_fit_together_are_prefilled_one_by_one(checkpoint: Path) -> None:
    with running_engine(checkpoint) as engine:
        assert engine.runner is not None
        prefill, groups = engine.runner.prefill, []
        run_sliced = prefill.run_sliced

        def short_of_memory(sequences: Sequence[EngineSequence]) -> Any:
            groups.append(len(sequences))
            if len(sequences) > 1:
                raise torch.OutOfMemoryError("no memory for more than one")
            return (yield from run_sliced(sequences))

        prefill.run_sliced = short_of_memory  # type: ignore[method-assign]

        async def run() -> list[Any]:
            params = [SamplingParams(max_tokens=2)] * 3
            return await asyncio.gather(*map(collect, await engine.submit_all(prompt(0), [], params)))

        assert [events[-1].finish_reason for events in asyncio.run(run())] == ["length"] * 3
        assert sorted(groups) != [1, 1, 1]


def test_a_full_queue_rejects_requests_and_says_when_to_retry(checkpoint: Path) -> None:
    with running_engine(checkpoint, slots=1, max_waiting=1) as engine:

        async def run() -> int:
            accepted = [await submit(engine, max_tokens=100) for _ in range(2)]
            with pytest.raises(QueueFull) as refused:
                await submit(engine)
            for generation in accepted:
                generation.abort()
            return refused.value.retry_after

        assert asyncio.run(run()) >= 1


def test_a_refused_prompt_frees_its_place_in_the_queue(checkpoint: Path) -> None:
    with running_engine(checkpoint, slots=1, max_waiting=0, max_model_len=64) as engine:
        for _ in range(3):
            with pytest.raises(InvalidRequest):
                asyncio.run(submit(engine, [noise_image(560, 560)]))
        assert answer(engine, max_tokens=2)


def test_the_checkpoints_generation_config_gives_the_defaults(checkpoint: Path, tmp_path: Path) -> None:
    folder = copytree(checkpoint, tmp_path / "sampling")
    settings = {"do_sample": True, "temperature": 0.7, "top_k": 5, "repetition_penalty": 1.1}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    with running_engine(folder) as engine:
        assert engine.defaults == SamplingParams(temperature=0.7, top_k=5, repetition_penalty=1.1)


def test_without_a_generation_config_the_defaults_are_greedy(engine: Engine) -> None:
    assert engine.defaults == SamplingParams()


def test_several_answers_to_one_prompt_are_accepted_together_or_not_at_all(checkpoint: Path) -> None:
    with running_engine(checkpoint, slots=1, max_waiting=1) as engine:

        async def run() -> None:
            params = [SamplingParams(max_tokens=2)] * 2
            for generation in await engine.submit_all(prompt(0), [], params):
                assert (await collect(generation))[-1].finish_reason == "length"
            running = await submit(engine)
            with pytest.raises(QueueFull):
                await engine.submit_all(prompt(0), [], params)
            running.abort()
            with pytest.raises(InvalidRequest, match="n is 3"):
                await engine.submit_all(prompt(0), [], [SamplingParams()] * 3)

        asyncio.run(run())
