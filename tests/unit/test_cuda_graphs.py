"""Decoding by graphs: when they are captured, replayed and evicted."""

import asyncio
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.cuda_graphs import MIN_BYTES, SECONDS_WITHOUT, Captured, GpuCapture, Graphs, graphs_for
from engine.decode import common_blocks
from engine.engine import Engine
from engine.memory import MIB, release_cached
from engine.request import SamplingParams, TokenEvent
from engine.slots import MIN_REUSE
from tests.engines import answers, ids_of, running_engine
from tests.recording import Recordings


def idle() -> list[Tensor]:
    return [torch.tensor([0])]


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

    monkeypatch.setattr("engine.build.graphs_for", lambda device, *_: Graphs(refused, device))
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
        outcome: Tensor | None = graphs.run(key, lambda place: place * 2, [torch.tensor([key])], idle)
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
        outcome: Tensor = graphs.run(key, lambda place: place * 2, [torch.tensor([key])], idle)
        return outcome.tolist()

    assert [doubled(key) for key in (1, 2, 1, 3)] == [[2], [4], [2], [6]]
    assert graphs.captured == 3
    assert doubled(1) == [2]
    assert graphs.captured == 3  # 2 was evicted
    assert doubled(2) == [4]
    assert graphs.captured == 4


def test_common_steps_are_captured_before_the_engine_is_ready(
    checkpoint: Path, engine: Engine, recordings: Recordings
) -> None:
    """Bug: each was captured at its first occurrence, which delayed all streams."""
    recordings.limit(64 * MIB)
    with running_engine(checkpoint) as other:
        captured = recordings.captured
        assert captured == len(common_blocks(other.slots, 512)) > 1
        events = answers(other, *[SamplingParams(max_tokens=6)] * 3)
        assert recordings.captured == captured
    expected = answers(engine, *[SamplingParams(max_tokens=6)] * 3)
    assert [ids_of(one) for one in events] == [ids_of(one) for one in expected]


def test_no_more_is_captured_ahead_than_there_is_room_for() -> None:
    graphs = Recordings(graph_bytes=2 * MIB, max_bytes=5 * MIB)

    def prepared(key: int) -> bool:
        return graphs.prepare(key, lambda place: place * 2, idle)

    assert [prepared(key) for key in (1, 2, 2, 3)] == [True, True, True, False]
    assert graphs.captured == 2
    assert graphs.run(1, lambda place: place * 2, [torch.tensor([4])], idle) == torch.tensor([8])
    assert graphs.captured == 2


def test_a_shortage_while_capturing_ahead_means_fewer_graphs(
    checkpoint: Path, recordings: Recordings, caplog: pytest.LogCaptureFixture
) -> None:
    recordings.limit(64 * MIB)
    record = recordings._record

    def short_of_memory(work: Any) -> Captured:
        if recordings.captured == 2:
            raise torch.OutOfMemoryError("no memory")
        return record(work)

    recordings._capture = short_of_memory
    with running_engine(checkpoint) as engine:
        (events,) = answers(engine, SamplingParams(max_tokens=6, ignore_eos=True))
    assert events[-1].completion_tokens == 6
    assert recordings.captured == 2
    assert sum("no room" in message for message in caplog.messages) == 1


def test_graphs_that_are_off_are_never_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.cuda_graphs.GpuCapture", None)
    graphs = graphs_for(torch.device("cuda", 0), None, 100)
    assert graphs is not None
    assert not graphs.prepare(1, lambda place: place * 2, idle)
    assert graphs.run(1, lambda place: place * 2, [torch.tensor([1])], idle) is None
    assert graphs_for(torch.device("cpu"), None, 100) is None


# --- PyTorch's allocator ---------------------------------------------------------------------------------------------


class Allocator:
    """Stands in for CUDA, and refuses as PyTorch's allocator does where a capture has not been ended in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.underway: set[int] = set()
        self.emptied = self.pools = 0
        driver = self

        class CUDAGraph:
            valid = True

            def capture_begin(self, *, pool: int, capture_error_mode: str) -> None:
                assert capture_error_mode == "thread_local"
                self._pool = pool
                driver.underway.add(pool)
                driver.capturing = self

            def capture_end(self) -> None:
                if not self.valid:
                    raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
                driver.underway.remove(self._pool)

            def replay(self) -> None: ...

        self.capturing: CUDAGraph | None = None
        stream = SimpleNamespace(wait_stream=lambda _other: None)
        for name, value in {
            "CUDAGraph": CUDAGraph,
            "Stream": lambda _device: stream,
            "current_stream": lambda _device: stream,
            "stream": lambda _stream: nullcontext(),
            "synchronize": lambda _device: None,
            "graph_pool_handle": self._new_pool,
            "mem_get_info": lambda _device: (0, 0),
            "empty_cache": self._empty,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", self._end, raising=False)

    def _new_pool(self) -> int:
        self.pools += 1
        return self.pools

    def _end(self, _device: int, pool: int) -> None:
        if pool not in self.underway:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.underway.remove(pool)

    def _empty(self) -> None:
        if self.underway:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")
        self.emptied += 1


def test_after_a_capture_that_failed_the_allocator_works_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: PyTorch took it for unfinished, and the next shortage of memory ended the engine's thread."""
    allocator = Allocator(monkeypatch)

    def read_on_the_host() -> None:
        if allocator.capturing is not None:
            allocator.capturing.valid = False
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="previous error during capture"):
        GpuCapture(torch.device("cuda", 0))(read_on_the_host)
    assert not allocator.underway
    release_cached()
    assert allocator.emptied == 1


def test_memory_that_cannot_be_released_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    allocator = Allocator(monkeypatch)
    allocator.underway.add(7)
    release_cached()
    assert "INTERNAL ASSERT" in caplog.text


def test_a_capture_without_room_is_tried_again_once_cached_memory_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    allocator = Allocator(monkeypatch)

    def work() -> str:
        if allocator.capturing is not None and not allocator.emptied:
            raise torch.OutOfMemoryError("no memory")
        return "logits"

    assert GpuCapture(torch.device("cuda", 0))(work).outputs == "logits"
    assert (allocator.emptied, allocator.underway) == (1, set())


def test_capturing_alone_empties_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: the buffers of the vision tower went back to the driver for each graph, and were allocated anew."""
    allocator = Allocator(monkeypatch)
    capture = GpuCapture(torch.device("cuda", 0))
    assert [capture(lambda: "logits").bytes for _ in range(3)] == [MIN_BYTES] * 3
    assert allocator.emptied == 0


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
