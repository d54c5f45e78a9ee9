"""Decode steps: which slots go into a call or a graph, and what is launched before what is read."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.cuda_graphs import SECONDS_WITHOUT, Captured, Graphs
from engine.decode import Block, Decode, Flight, block_of, bucket, together
from engine.engine import Engine
from engine.errors import GenerationFailed
from engine.kv_cache import KVCache
from engine.launches import Fetched
from engine.request import SamplingParams, Structure, TokenEvent
from engine.slots import MIN_REUSE
from tests.engines import running_engine
from tests.prompts import prompt
from tests.recording import Recorder, Recordings

# --- which slots ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slots", "lengths", "groups"),
    [
        ([3], [50], [(0, 1)]),
        ([0, 1, 2], [50, 60, 55], [(0, 3)]),
        ([0, 2, 3], [50, 50, 50], [(0, 1), (1, 3)]),
        ([0, 1, 2], [400, 4096, 4090], [(0, 1), (1, 3)]),
        ([0, 1, 2], [4096, 400, 410], [(0, 1), (1, 3)]),
    ],
    ids=["one", "of like length", "a slot between them", "a long one behind", "a long one before"],
)
def test_neighbouring_slots_attend_in_one_call_where_little_is_read_for_nothing(
    slots: list[int], lengths: list[int], groups: list[tuple[int, int]]
) -> None:
    assert [(rows.start, rows.stop) for rows in together(slots, lengths, 100)] == groups


@pytest.mark.parametrize(
    ("slots", "lengths", "block"),
    [
        ([0], [100], Block(0, 1, 512)),
        ([5], [600], Block(5, 1, 768)),
        ([0, 1], [1000, 1025], Block(0, 2, 1536)),
        ([1, 2], [100, 100], Block(0, 4, 512)),
        ([4, 6], [100, 100], Block(4, 4, 512)),
        ([8, 9], [100, 4000], Block(8, 2, 4000)),
        ([0, 9], [3000, 3000], None),
    ],
    ids=["one", "one elsewhere", "two", "across a boundary", "a hole", "the last slots", "too far apart"],
)
def test_a_graph_is_for_a_block_of_slots_that_others_can_have_too(
    slots: list[int], lengths: list[int], block: Block | None
) -> None:
    assert block_of(slots, lengths, slots=10, longest=4000) == block


def test_lengths_are_few_and_waste_at_most_half() -> None:
    sizes = {bucket(length, 8192) for length in range(1, 8193)}
    assert len(sizes) == 9
    assert all(length <= bucket(length, 8192) <= max(512, 1.5 * length) for length in range(1, 8193))


# --- what is launched before what is read ---------------------------------------------------------------------------


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens, as it happens: "launch" of a decode step, "read" of its tokens."""
    happened: list[str] = []
    launch, tokens = Decode.launch, Flight.tokens

    def launched(self: Decode, *args: Any) -> Flight:
        happened.append("launch")
        return launch(self, *args)

    def read(self: Flight) -> Any:
        happened.append("read")
        return tokens(self)

    monkeypatch.setattr(Decode, "launch", launched)
    monkeypatch.setattr(Flight, "tokens", read)
    return happened


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> Recordings:
    """The engines made from now on work behind their launches."""
    made = Recordings()
    monkeypatch.setattr("engine.build.graphs_for", lambda _device: made)
    return made


def answers(engine: Engine, *params: SamplingParams) -> list[list[TokenEvent]]:
    """To the same prompt, at once."""

    async def run() -> list[list[TokenEvent]]:
        generations = await engine.submit_all(prompt(0), [], list(params))

        async def collected(generation: Any) -> list[TokenEvent]:
            return [event async for event in generation]

        return await asyncio.gather(*map(collected, generations))

    return asyncio.run(run())


def told(events: Sequence[TokenEvent]) -> list[tuple[int, float, Any]]:
    return [(event.token.id, event.token.logprob, event.token.top) for event in events if event.token is not None]


def ids(events: Sequence[TokenEvent]) -> list[int]:
    return [token for token, *_ in told(events)]


def test_a_step_is_launched_before_the_tokens_of_the_last_one_are_read(
    checkpoint: Path, recordings: Recordings, order: list[str]
) -> None:
    with running_engine(checkpoint) as engine:
        order.clear()
        (events,) = answers(engine, SamplingParams(max_tokens=5, ignore_eos=True))
        assert events[-1].completion_tokens == 5
    # The first token comes with the prompt. Nothing is launched behind the last one.
    assert order == ["launch", "launch", "read", "launch", "read", "launch", "read", "read"]
    assert recordings.replayed >= 4


@pytest.mark.parametrize(
    "params",
    [
        {"structure": Structure("regex", "[a-z]{9}", "guided_regex")},
        {"frequency_penalty": 0.5},
        {"min_tokens": 4},
    ],
    ids=lambda params: next(iter(params)),
)
@pytest.mark.usefixtures("recordings")
def test_what_depends_on_the_tokens_before_waits_for_them(
    checkpoint: Path, order: list[str], params: dict[str, Any]
) -> None:
    with running_engine(checkpoint) as engine:
        order.clear()
        answers(engine, SamplingParams(max_tokens=4, **params))
    assert order[:6] == ["launch", "read"] * 3


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.9, "seed": 3},
        {"top_logprobs": 4},
        {"logit_bias": {100: 3.0}},
        {"min_tokens": 6},
        {"repetition_penalty": 1.3},
        {"structure": Structure("regex", "[a-z ]{12}", "guided_regex")},
    ],
    ids=lambda params: next(iter(params)),
)
def test_what_a_request_asks_of_its_tokens_is_the_same_alone_and_beside_others(
    checkpoint: Path, engine: Engine, params: dict[str, Any]
) -> None:
    one = SamplingParams(max_tokens=8, **params)
    (alone,) = answers(engine, one)
    with running_engine(checkpoint) as other:
        beside, *_ = answers(other, one, SamplingParams(max_tokens=12), SamplingParams(max_tokens=3, temperature=1.0))
    for (token, logprob, top), (expected, expected_logprob, expected_top) in zip(
        told(beside), told(alone), strict=True
    ):
        assert token == expected
        assert logprob == pytest.approx(expected_logprob, abs=1e-4)
        assert [token for token, _ in top] == [token for token, _ in expected_top]


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("params", [{}, {"temperature": 0.7}, {"top_logprobs": 3}, {"logit_bias": {100: 3.0}}], ids=str)
def test_launching_a_step_reads_nothing_from_the_device(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any]
) -> None:
    """A single value read in between would make the host wait for all that was launched."""
    launch, tolist = Decode.launch, Fetched.tolist
    launching = False

    def launched(self: Decode, *args: Any) -> Flight:
        nonlocal launching
        launching = True
        try:
            with Recorder(allowed="lift_fresh"):  # a tensor of the host's, which goes there by itself
                return launch(self, *args)
        finally:
            launching = False

    def read(self: Fetched) -> list[Any]:
        assert not launching
        return tolist(self)

    monkeypatch.setattr(Decode, "launch", launched)
    monkeypatch.setattr(Fetched, "tolist", read)
    with running_engine(checkpoint) as engine:
        (events,) = answers(engine, SamplingParams(max_tokens=4, ignore_eos=True, **params))
    assert events[-1].completion_tokens == 4


@pytest.mark.usefixtures("recordings")
def test_a_step_that_could_not_be_launched_is_tried_again_and_loses_no_token(
    checkpoint: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (expected,) = answers(engine, SamplingParams(max_tokens=10))
    launch, launches = Decode.launch, 0

    def short_of_memory(self: Decode, *args: Any) -> Flight:
        nonlocal launches
        launches += 1
        if launches in (4, 7):
            raise torch.OutOfMemoryError("no memory")
        return launch(self, *args)

    with running_engine(checkpoint) as other:
        monkeypatch.setattr(Decode, "launch", short_of_memory)
        (events,) = answers(other, SamplingParams(max_tokens=10))
    assert launches > 7
    assert ids(events) == ids(expected)


@pytest.mark.usefixtures("each_way")
def test_a_prompt_that_breaks_harms_nobody_whose_step_is_under_way(checkpoint: Path, engine: Engine) -> None:
    """Bug: the model was tried out while a step was under way, and the tokens of that were taken for the try-out's."""
    params = [SamplingParams(max_tokens=40, ignore_eos=True, temperature=0.8, seed=seed) for seed in (1, 2)]
    expected = answers(engine, *params)
    with running_engine(checkpoint) as other:
        assert other.runner is not None
        prefill = other.runner.prefill
        run_sliced = prefill.run_sliced

        def broken(sequences: Sequence[Any]) -> Any:
            if any(sequence.params.seed == 666 for sequence in sequences):
                raise KeyError("an injected bug")
            return (yield from run_sliced(sequences))

        prefill.run_sliced = broken  # type: ignore[method-assign]

        async def run() -> list[list[TokenEvent]]:
            generations = await other.submit_all(prompt(0), [], params)
            for generation in generations:
                await anext(aiter(generation))
            culprit = await other.submit(prompt(0), [], SamplingParams(seed=666))
            with pytest.raises(GenerationFailed):
                [event async for event in culprit]
            return [[event async for event in generation] for generation in generations]

        rest = asyncio.run(run())
        assert other.state == "ready"
    assert [ids(events)[-30:] for events in rest] == [ids(events)[-30:] for events in expected]


@pytest.mark.usefixtures("recordings")
def test_what_an_abandoned_step_left_in_a_slot_harms_nobody_who_gets_it(checkpoint: Path, engine: Engine) -> None:
    """Graphs read beyond what is written, with a weight of 0; times NaN, that would be NaN."""
    (expected,) = answers(engine, SamplingParams(max_tokens=5))
    with running_engine(checkpoint) as other:
        assert other.runner is not None
        other.runner.cache.entries.fill_(torch.nan)
        (events,) = answers(other, SamplingParams(max_tokens=5))
    assert ids(events) == ids(expected)


# --- graphs ---------------------------------------------------------------------------------------------------------


def test_steps_of_the_same_block_share_a_graph(checkpoint: Path, recordings: Recordings) -> None:
    with running_engine(checkpoint, slots=1) as engine:
        for _ in range(2):
            answers(engine, SamplingParams(max_tokens=6, ignore_eos=True))
    assert recordings.captured == 1
    assert recordings.replayed >= 10


def test_where_graphs_do_not_work_decoding_goes_on_without(
    checkpoint: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(_work: Any) -> Captured:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr("engine.build.graphs_for", lambda device: Graphs(refused, device))
    (expected,) = answers(engine, SamplingParams(max_tokens=6))
    with running_engine(checkpoint) as other:
        (events,) = answers(other, SamplingParams(max_tokens=6))
    assert ids(events) == ids(expected)
    assert sum("without CUDA graphs" in message for message in caplog.messages) == 1


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no memory"), RuntimeError("CUDA error: out of memory")])
def test_where_a_graph_finds_no_room_the_others_go_on_and_it_is_tried_again_later(
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


def test_graphs_take_no_more_memory_than_they_may() -> None:
    graphs = Recordings(graph_bytes=40, max_bytes=100)

    def doubled(key: int) -> list[int]:
        outcome: Tensor = graphs.run(key, lambda place: place * 2, torch.tensor([key]), torch.tensor([0]))
        return outcome.tolist()

    assert [doubled(key) for key in (1, 2, 1, 3)] == [[2], [4], [2], [6]]
    assert graphs.captured == 3
    assert doubled(1) == [2]
    assert graphs.captured == 3  # it is 2 that had to go
    assert doubled(2) == [4]
    assert graphs.captured == 4


def test_a_prompt_that_takes_over_a_slot_finds_what_had_to_move(checkpoint: Path, recordings: Recordings) -> None:
    """Whoever runs sits in the lowest slot; the answers given before stay, in others, for further questions."""
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


def test_slots_change_places_as_far_as_they_hold_anything() -> None:
    class Config:
        num_hidden_layers, num_key_value_heads, head_dim = 2, 1, 4

    cache = KVCache(Config, slots=3, length=5, device=torch.device("cpu"), dtype=torch.float32)
    cache.entries.copy_(torch.arange(cache.entries.numel()).view(cache.entries.shape))
    before = cache.entries.clone()
    cache.exchange(0, 2, 3)
    assert torch.equal(cache.entries[:, 0, ..., :3, :], before[:, 2, ..., :3, :])
    assert torch.equal(cache.entries[:, 2, ..., :3, :], before[:, 0, ..., :3, :])
    assert torch.equal(cache.entries[:, :, ..., 3:, :], before[:, :, ..., 3:, :])
    assert torch.equal(cache.entries[:, 1], before[:, 1])
