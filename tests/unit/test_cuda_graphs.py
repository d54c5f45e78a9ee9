"""Decoding by graphs: when they are captured, replayed and evicted."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.cuda_graphs import SECONDS_WITHOUT, Captured, Graphs
from engine.engine import Engine
from engine.request import SamplingParams, TokenEvent
from engine.slots import MIN_REUSE
from tests.engines import answers, ids_of, running_engine
from tests.recording import Recordings


def test_steps_of_the_same_block_share_a_graph(checkpoint: Path, recordings: Recordings) -> None:
    with running_engine(checkpoint, slots=1) as engine:
        for _ in range(2):
            answers(engine, SamplingParams(max_tokens=6, ignore_eos=True))
    assert recordings.captured == 1
    assert recordings.replayed >= 10


def test_decoding_works_without_graphs_where_they_cannot_be_captured(
    checkpoint: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(_work: Any) -> Captured:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr("engine.build.graphs_for", lambda device, _bytes: Graphs(refused, device))
    (expected,) = answers(engine, SamplingParams(max_tokens=6))
    with running_engine(checkpoint) as other:
        (events,) = answers(other, SamplingParams(max_tokens=6))
    assert ids_of(events) == ids_of(expected)
    assert sum("without CUDA graphs" in message for message in caplog.messages) == 1


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no memory"), RuntimeError("CUDA error: out of memory")])
def test_a_graph_without_room_is_retried_later_and_the_others_still_work(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    graphs = Recordings(graph_bytes=40, max_bytes=100)
    record, tries = graphs._capture, 0

    def run(key: int) -> Tensor | None:
        outcome: Tensor | None = graphs.run(key, lambda place: place * 2, torch.tensor([key]), torch.tensor([0]))
        return outcome

    def short_of_memory(_work: Any) -> Captured:
        nonlocal tries
        tries += 1
        raise error

    run(1)
    graphs._capture = short_of_memory
    assert run(2) is None
    assert run(2) is None
    assert tries == 1
    assert run(1) == torch.tensor([2])
    later = time.monotonic() + SECONDS_WITHOUT
    monkeypatch.setattr("engine.cuda_graphs.time.monotonic", lambda: later)
    graphs._capture = record
    assert run(2) == torch.tensor([4])


def test_graphs_stay_within_their_memory_limit() -> None:
    graphs = Recordings(graph_bytes=40, max_bytes=100)

    def doubled(key: int) -> list[int]:
        outcome: Tensor = graphs.run(key, lambda place: place * 2, torch.tensor([key]), torch.tensor([0]))
        return outcome.tolist()

    assert [doubled(key) for key in (1, 2, 1, 3)] == [[2], [4], [2], [6]]
    assert graphs.captured == 3
    assert doubled(1) == [2]
    assert graphs.captured == 3  # 2 was evicted
    assert doubled(2) == [4]
    assert graphs.captured == 4


def test_a_prompt_finds_its_prefix_in_the_slot_that_it_was_moved_to(checkpoint: Path, recordings: Recordings) -> None:
    """Running sequences get the lowest slots; earlier answers stay in others, for further questions."""
    first, second = ([{"role": "user", "content": [{"type": "text", "text": f"{word} " * 40}]}] for word in "ab")

    async def asked(engine: Engine, messages: Any) -> TokenEvent:
        generation = await engine.submit(messages, [], SamplingParams(max_tokens=3, ignore_eos=True))
        return [event async for event in generation][-1]

    with running_engine(checkpoint) as engine:
        for messages in (first, second):
            assert asyncio.run(asked(engine, messages)).cached_tokens < MIN_REUSE
        for messages in (first, second):
            assert asyncio.run(asked(engine, messages)).cached_tokens > 40
    assert recordings.captured == 1  # all of them in slot 0
