import math
from collections import Counter

import torch

from engine.request import SamplingParams, Sequence
from engine.sampler import NOT_FINITE, sample
from tests.unit.test_scheduler import BarePrompt, NoText, ignore

LOGITS = torch.tensor([[0.0, 3.0, 2.0, 1.0]])


def sequence(**params: float | int | None) -> Sequence:
    sampling = SamplingParams(**params)  # type: ignore[arg-type]
    return Sequence(0, BarePrompt([1], 1), sampling, 10, NoText(), ignore, loop=None)


def drawn(count: int, **params: float | int | None) -> Counter[int]:
    one = sequence(**params)
    return Counter(sample(LOGITS, [one])[0] for _ in range(count))


def test_temperature_zero_takes_the_best() -> None:
    assert drawn(5, temperature=0) == {1: 5}


def test_top_p_zero_takes_the_best() -> None:
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


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    # Probabilities are 0.64, 0.24, 0.09, 0.03: the first reaches 0.6, and 0.7 needs two.
    assert set(drawn(500, temperature=1, top_p=0.6, seed=1)) == {1}
    assert set(drawn(500, temperature=1, top_p=0.7, seed=1)) == {1, 2}


def test_a_seed_repeats_its_draws() -> None:
    one, other = sequence(temperature=1.0, seed=7), sequence(temperature=1.0, seed=7)
    assert [sample(LOGITS, [one]) for _ in range(20)] == [sample(LOGITS, [other]) for _ in range(20)]


def test_a_seeded_answer_does_not_depend_on_its_neighbours() -> None:
    alone, beside, neighbour = (sequence(temperature=1.0, seed=seed) for seed in (7, 7, 8))
    for _ in range(20):
        assert sample(LOGITS, [alone])[0] == sample(LOGITS.repeat(2, 1), [neighbour, beside])[1]


def test_logits_that_are_not_finite_are_reported_for_their_row_only() -> None:
    logits = torch.cat((LOGITS, torch.full((1, 4), math.nan), LOGITS))
    sequences = [sequence(), sequence(), sequence(temperature=1.0, top_k=1)]
    assert sample(logits, sequences) == [1, NOT_FINITE, 1]
