import math
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engine.request import SamplingParams
from engine.request import Sequence as Row
from engine.sampler import descending, pick
from tests.recording import Recorder
from tests.sequences import bare_sequence

LOGITS = torch.tensor([[0.0, 3.0, 2.0, 1.0]])


def sequence(tokens: Sequence[int] = (), grammar: Any = None, **params: Any) -> Row:
    one = bare_sequence([1], params=SamplingParams(**params), grammar=grammar)
    one.tokens += tokens
    return one


def chosen(logits: torch.Tensor, rows: Sequence[Row]) -> list[int | None]:
    return [None if token is None else token.id for token in pick(logits, rows).on_host()]


def drawn(count: int, **params: Any) -> Counter[int | None]:
    one = sequence(**params)
    return Counter(chosen(LOGITS, [one])[0] for _ in range(count))


@pytest.mark.parametrize("temperature", [0, 1e-300, 1e-6])
def test_a_temperature_of_zero_or_close_to_it_is_greedy(temperature: float) -> None:
    assert drawn(5, temperature=temperature) == {1: 5}


def test_top_p_zero_is_greedy() -> None:
    assert drawn(5, temperature=1, top_p=0) == {1: 5}


def test_sampling_follows_the_probabilities() -> None:
    counts = drawn(4000, temperature=1, seed=1)
    expected = LOGITS[0].softmax(0)
    for token in range(4):
        spread = math.sqrt(4000 * expected[token] * (1 - expected[token]))
        assert abs(counts[token] - 4000 * expected[token]) < 5 * spread


def test_a_higher_temperature_flattens_them() -> None:
    assert drawn(2000, temperature=2, seed=1)[0] > drawn(2000, temperature=0.5, seed=1)[0]


def test_top_k_keeps_the_best_k() -> None:
    assert set(drawn(500, temperature=2, top_k=2, seed=1)) == {1, 2}


def test_of_equally_likely_tokens_top_k_keeps_the_first() -> None:
    logits = torch.tensor([[-0.0, 0.0, 2.0, 0.0, 2.0, -1.0]])
    for count, kept in ((1, {2}), (2, {2, 4}), (3, {0, 2, 4}), (4, {0, 1, 2, 4}), (6, {0, 1, 2, 3, 4, 5})):
        one = sequence(temperature=5.0, top_k=count, seed=1)
        assert {chosen(logits, [one])[0] for _ in range(200)} == kept


@pytest.mark.parametrize("temperature", [0.2, 1.0, 7.0])
def test_the_highest_logits_come_in_the_order_of_a_stable_sort(temperature: float) -> None:
    """Bug: all of a vocabulary was sorted for the few tokens that top_k leaves."""
    generator = torch.Generator().manual_seed(1)
    for logits in (torch.randn(5000, generator=generator), torch.randn(5000, generator=generator).round()):
        values, tokens = (logits / temperature).sort(descending=True, stable=True)
        highest, kept = descending(logits / temperature, 64)
        assert kept.tolist() == tokens[:64].tolist()
        assert highest.tolist() == values[:64].tolist()


@pytest.mark.parametrize(
    "params",
    [{}, {"temperature": 0.7}, {"temperature": 0.7, "top_k": 2}, {"temperature": 0.7, "top_p": 0.5, "min_p": 0.1}],
    ids=str,
)
def test_picking_waits_for_no_value_from_the_device(params: dict[str, Any]) -> None:
    """Bug: a drawn token was looked up by an index in brackets, which the host reads: it waited for the whole step."""
    with Recorder(allowed="lift_fresh"):
        picked = pick(LOGITS.clone(), [sequence(**params)])
    assert picked.on_host()[0] is not None


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    # Probabilities are 0.64, 0.24, 0.09, 0.03: the first reaches 0.6, and 0.7 needs two.
    assert set(drawn(500, temperature=1, top_p=0.6, seed=1)) == {1}
    assert set(drawn(500, temperature=1, top_p=0.7, seed=1)) == {1, 2}


def test_a_seed_repeats_its_draws() -> None:
    one, other = sequence(temperature=1.0, seed=7), sequence(temperature=1.0, seed=7)
    assert [chosen(LOGITS, [one]) for _ in range(20)] == [chosen(LOGITS, [other]) for _ in range(20)]


def test_a_seeded_answer_does_not_depend_on_its_neighbours() -> None:
    alone, batched, neighbour = (sequence(temperature=1.0, seed=seed) for seed in (7, 7, 8))
    for _ in range(20):
        assert chosen(LOGITS, [alone])[0] == chosen(LOGITS.repeat(2, 1), [neighbour, batched])[1]


def test_logits_that_are_not_finite_are_reported_for_their_row_only() -> None:
    logits = torch.cat((LOGITS, torch.full((1, 4), math.nan), LOGITS))
    sequences = [sequence(), sequence(), sequence(temperature=1.0, top_k=1)]
    assert chosen(logits, sequences) == [1, None, 1]


def test_min_p_drops_tokens_that_are_unlikely_compared_with_the_best() -> None:
    # 0.24 is 0.37 of 0.64, and 0.09 is 0.13 of it.
    assert set(drawn(500, temperature=1, min_p=0.2, seed=1)) == {1, 2}
    assert set(drawn(500, temperature=1, min_p=0.5, seed=1)) == {1}


def test_a_bias_is_added_to_its_token() -> None:
    assert chosen(LOGITS, [sequence(logit_bias={0: 5.0})]) == [0]
    assert chosen(LOGITS, [sequence(logit_bias={1: -2.0})]) == [2]


def test_an_end_token_is_not_sampled_before_min_tokens() -> None:
    assert chosen(LOGITS, [sequence(logit_bias={2: 9.0}, min_tokens=1)]) == [1]
    assert chosen(LOGITS, [sequence([1], logit_bias={2: 9.0}, min_tokens=1)]) == [2]


def test_presence_is_penalised_once_and_frequency_each_time() -> None:
    assert chosen(LOGITS, [sequence([1], presence_penalty=1.1)]) == [2]
    assert chosen(LOGITS, [sequence([1, 1, 1], presence_penalty=0.9)]) == [1]
    assert chosen(LOGITS, [sequence([1, 1, 1], frequency_penalty=0.4)]) == [2]
    assert chosen(LOGITS, [sequence([1, 1], frequency_penalty=0.4)]) == [1]


def test_the_repetition_penalty_counts_the_prompt_too() -> None:
    assert chosen(LOGITS, [sequence(repetition_penalty=2.0)]) == [2]  # the prompt is token 1: 3 becomes 1.5


def test_a_mask_allows_only_its_tokens() -> None:
    grammar = SimpleNamespace(mask=lambda _ahead: np.array([True, False, False, True]))
    assert chosen(LOGITS, [sequence(grammar=grammar)]) == [3]


def test_log_probabilities_are_the_models_own() -> None:
    (token,) = pick(LOGITS, [sequence(logit_bias={0: 5.0}, temperature=0.5, top_k=1, top_logprobs=2)]).on_host()
    own = LOGITS[0].log_softmax(0).tolist()
    assert token is not None
    assert token.logprob == pytest.approx(own[0])
    assert [candidate for candidate, _ in token.top] == [1, 2]
    assert [logprob for _, logprob in token.top] == pytest.approx(own[1:3])
