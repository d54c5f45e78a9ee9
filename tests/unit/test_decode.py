"""Decode steps: which slots share a call or a graph, and the order of launches and reads."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.decode import Block, Decode, Flight, block_of, bucket, common_blocks
from engine.decode_attention import WASTED_TOKENS, together
from engine.engine import Engine
from engine.errors import GenerationFailed
from engine.launches import Fetched
from engine.request import SamplingParams, Structure, TokenEvent
from tests.engines import answers, ids_of, running_engine, tokens_of
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
    ids=["one", "of similar length", "a gap between them", "a long one last", "a long one first"],
)
def test_neighbouring_slots_attend_in_one_call_where_that_wastes_little(
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
def test_a_graph_covers_a_block_of_slots_that_other_batches_share(
    slots: list[int], lengths: list[int], block: Block | None
) -> None:
    assert block_of(slots, lengths, 10, 4000, WASTED_TOKENS) == block


def test_lengths_are_few_and_waste_at_most_half() -> None:
    sizes = {bucket(length, 8192) for length in range(1, 8193)}
    assert len(sizes) == 9
    assert all(length <= bucket(length, 8192) <= max(512, 1.5 * length) for length in range(1, 8193))


def test_common_blocks_are_those_of_batches_in_the_lowest_slots() -> None:
    blocks = common_blocks(slots=6, longest=1000)
    assert blocks == [Block(0, count, length) for length in (512, 768, 1000) for count in (1, 2, 4, 6)]
    batches = [(range(count), [length] * count) for count in range(1, 7) for length in (100, 700, 900)]
    used = [block_of(slots, lengths, 6, 1000, WASTED_TOKENS) for slots, lengths in batches]
    assert set(used) == set(blocks)
    assert common_blocks(slots=1, longest=300) == [Block(0, 1, 300)]


# --- the order of launches and reads --------------------------------------------------------------------------------


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The events in their order: "launch" of a decode step, "read" of its tokens."""
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


def test_a_step_is_launched_before_the_tokens_of_the_last_one_are_read(
    checkpoint: Path, recordings: Recordings, order: list[str]
) -> None:
    with running_engine(checkpoint) as engine:
        order.clear()
        (events,) = answers(engine, SamplingParams(max_tokens=5, ignore_eos=True))
        assert events[-1].completion_tokens == 5
    # The first token comes with the prompt. No step is launched after the last one.
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
def test_a_step_that_depends_on_earlier_tokens_waits_for_them(
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
def test_sampling_parameters_act_the_same_alone_and_in_a_batch(
    checkpoint: Path, engine: Engine, params: dict[str, Any]
) -> None:
    one = SamplingParams(max_tokens=8, **params)
    (alone,) = answers(engine, one)
    with running_engine(checkpoint) as other:
        batched, *_ = answers(other, one, SamplingParams(max_tokens=12), SamplingParams(max_tokens=3, temperature=1.0))
    for (token, logprob, top), (expected, expected_logprob, expected_top) in zip(
        tokens_of(batched), tokens_of(alone), strict=True
    ):
        assert token == expected
        assert logprob == pytest.approx(expected_logprob, abs=3e-3)  # a CPU that plays a GPU has no products of 16 bits
        assert [token for token, _ in top] == [token for token, _ in expected_top]


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize(
    "params",
    [{}, {"temperature": 0.7}, {"temperature": 0.7, "top_k": 5}, {"top_logprobs": 3}, {"logit_bias": {100: 3.0}}],
    ids=str,
)
def test_launching_a_step_reads_no_value_from_the_device(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any]
) -> None:
    """A single value read in between would make the host wait for all that was launched."""
    launch, tolist = Decode.launch, Fetched.tolist
    launching = False

    def launched(self: Decode, *args: Any) -> Flight:
        nonlocal launching
        launching = True
        try:
            with Recorder(allowed="lift_fresh"):  # a tensor of the host's, which the launch copies
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
def test_a_step_that_could_not_be_launched_is_retried_and_loses_no_token(
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
    assert ids_of(events) == ids_of(expected)


@pytest.mark.usefixtures("each_way")
def test_a_prompt_that_fails_harms_no_sequence_whose_step_is_in_flight(checkpoint: Path, engine: Engine) -> None:
    """Bug: the model was tried out while a step was in flight, whose tokens were mistaken for those of the trial."""
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
    assert [ids_of(events)[-30:] for events in rest] == [ids_of(events)[-30:] for events in expected]


@pytest.mark.usefixtures("recordings")
def test_leftovers_of_an_abandoned_step_harm_no_later_sequence_in_its_slot(checkpoint: Path, engine: Engine) -> None:
    """Graphs read beyond what is written, with a weight of 0; 0 times NaN would be NaN."""
    (expected,) = answers(engine, SamplingParams(max_tokens=5))
    with running_engine(checkpoint) as other:
        assert other.runner is not None
        other.runner.cache.entries.fill_(torch.nan)
        (events,) = answers(other, SamplingParams(max_tokens=5))
    assert ids_of(events) == ids_of(expected)
