"""Guessed tokens: where they come from, when they are tried, and that no answer differs because of them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from engine.decode import Decode, Flight
from engine.drafts import MAX_DRAFT, RETRY_STEPS, Draft, Drafts
from engine.engine import Engine
from engine.request import SamplingParams, Structure
from tests.engines import answers, collect, ids_of, running_engine, submit
from tests.prompts import noise_image
from tests.sequences import bare_sequence

SCHEMA = """{"type": "object", "properties": {"merchant": {"enum": ["Lidl", "Aldi"]}, "currency": {"enum": ["EUR"]}},
             "required": ["merchant", "currency"], "additionalProperties": false}"""


def test_what_followed_the_newest_tokens_before_is_guessed() -> None:
    sequence = bare_sequence([1, 2, 3, 4, 5], tokens=[9, 2, 3], max_tokens=100)
    draft = Draft(sequence)
    assert draft.guess() == []
    sequence.tokens.append(4)
    assert draft.guess() == [5, 9, 2, 3, 4]


def test_the_newest_occurrence_counts() -> None:
    assert Draft(bare_sequence([1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3], max_tokens=100)).guess()[0] == 5


def test_what_an_earlier_request_had_is_guessed_too() -> None:
    sequence = bare_sequence([1, 2, 3], likely=[1, 2, 3, 7, 8], max_tokens=100)
    assert Draft(sequence).guess()[:2] == [7, 8]


def test_a_guess_leaves_room_for_the_token_after_it() -> None:
    sequence = bare_sequence([1, 2, 3, 4, 5, 6, 1, 2], tokens=[3], max_tokens=4)
    assert Draft(sequence).guess() == [4, 5]


def test_guesses_get_short_where_they_are_wrong_and_long_where_they_are_right() -> None:
    draft = Draft(bare_sequence([*range(20), 0, 1, 2], max_tokens=100))
    assert len(draft.guess()) == MAX_DRAFT
    draft.learn(MAX_DRAFT, 0)
    assert len(draft.guess()) == 1
    draft.learn(1, 1)
    assert len(draft.guess()) == 3


def repeating() -> Any:
    return bare_sequence([*range(20), 0, 1, 2], max_tokens=100)


def test_a_step_has_at_most_eight_rows() -> None:
    batch = [repeating() for _ in range(3)]
    assert list(map(len, Drafts().guess(batch, 3))) == [5, 0, 0]
    assert not any(Drafts().guess([repeating() for _ in range(8)], 8))


def test_guesses_that_cost_more_than_they_give_are_left_out_and_tried_again_later() -> None:
    drafts, batch = Drafts(), [repeating()]
    drafts.observe(1, 1.0)
    drafts.observe(1 + MAX_DRAFT, 9.0)
    assert not any(drafts.guess(batch, 1)[0] for _ in range(RETRY_STEPS))
    assert drafts.guess(batch, 1)[0]
    drafts.observe(1 + MAX_DRAFT, -20.0)  # a step of eight rows has become cheap
    assert drafts.guess(batch, 1)[0]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each decode step."""
    rows: list[int] = []
    launch = Decode.launch

    def counted(self: Decode, *arguments: Any) -> Flight:
        flight = launch(self, *arguments)
        rows.append(len(flight.sequences))
        return flight

    monkeypatch.setattr(Decode, "launch", counted)
    return rows


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guesses are tried whatever they cost: how long a step takes here is left to chance."""
    monkeypatch.setattr(Drafts, "_pay", lambda _self, _sequences, guessed: guessed > 0)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"temperature": 1.5, "top_k": 2, "seed": 5},
        {"logit_bias": {100: 9.0}},
        {"structure": Structure("regex", "(one two three four five )*", "guided_regex")},
        {"structure": Structure("json_schema", SCHEMA, "guided_json")},
    ],
    ids=["greedy", "drawn", "biased", "by a regular expression", "by a schema"],
)
def test_an_answer_is_the_same_with_guesses_in_fewer_steps(
    checkpoint: Path, launched: list[int], params: dict[str, Any]
) -> None:
    asked = SamplingParams(max_tokens=150, ignore_eos=True, **params)
    with pytest.MonkeyPatch.context() as patch, running_engine(checkpoint) as engine:
        patch.setattr(Drafts, "guess", lambda _self, sequences, **_: [[] for _ in sequences])
        (expected,) = answers(engine, asked)
    steps = len(launched)
    launched.clear()
    with running_engine(checkpoint) as engine:
        (found,) = answers(engine, asked)
        assert ids_of(found) == ids_of(expected)
        assert len(launched) < steps
        launched.clear()
        (again,) = answers(engine, asked)
    assert ids_of(again) == ids_of(expected)
    if not params.get("temperature"):
        assert len(launched) < steps / 3


@pytest.mark.usefixtures("always")
def test_answers_that_run_together_are_as_they_are_alone(checkpoint: Path) -> None:
    asked = [SamplingParams(max_tokens=60, ignore_eos=True, logit_bias={token: 9.0}) for token in (100, 101, 102)]
    with running_engine(checkpoint) as engine:
        alone = [ids_of(answers(engine, one)[0]) for one in asked]
        assert [ids_of(events) for events in answers(engine, *asked)] == alone


@pytest.mark.usefixtures("always")
def test_a_question_that_is_asked_again_has_its_answer_guessed(checkpoint: Path, launched: list[int]) -> None:
    image = noise_image(56, 84)

    async def ask(engine: Engine) -> list[int]:
        return ids_of(
            await collect(await submit(engine, [image], max_tokens=40, ignore_eos=True, logit_bias={7: -9.0}))
        )

    with running_engine(checkpoint) as engine:
        first = asyncio.run(ask(engine))
        launched.clear()
        assert asyncio.run(ask(engine)) == first
    assert max(launched) == 1 + MAX_DRAFT
    assert len(launched) < 20
