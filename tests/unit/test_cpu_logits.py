"""The largest of logits, and their sum of exponentials, by our own kernel against PyTorch's."""

import pytest
import torch
from torch import Tensor

from models.paddleocr_vl.cpu_logits import find_best


def normal(rows: int, columns: int = 1040) -> Tensor:
    return 10 * torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows))


@pytest.mark.parametrize("columns", [16, 48, 64, 1040])
@pytest.mark.parametrize("rows", [1, 2, 9])
def test_rows_of_logits_have_pytorchs_results(rows: int, columns: int) -> None:
    logits = normal(rows, columns)
    tokens, logsumexp, finite = find_best(logits)
    assert torch.equal(tokens, logits.argmax(dim=-1))
    torch.testing.assert_close(logsumexp, logits.logsumexp(dim=-1))
    assert finite.tolist() == [True] * rows


@pytest.mark.parametrize("places", [(3, 4), (7, 8), (0, 1039), (500, 516)])
def test_of_equal_logits_the_first_is_taken(places: tuple[int, int]) -> None:
    logits = normal(2)
    logits[0, places] = 100.0
    assert find_best(logits)[0][0] == places[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 17, 1039])
def test_a_logit_that_is_not_finite_is_seen_in_its_row_alone(value: float, place: int) -> None:
    logits = normal(3)
    logits[1, place] = value
    tokens, _, finite = find_best(logits)
    assert finite.tolist() == [True, False, True]
    assert 0 <= tokens[1] < logits.shape[1]


def test_logits_that_are_all_nan_name_a_token_all_the_same() -> None:
    tokens, _, finite = find_best(torch.full((1, 64), float("nan")))
    assert (tokens.tolist(), finite.tolist()) == ([0], [False])


def test_large_and_equal_logits_neither_overflow_nor_vanish() -> None:
    for value in (-1e30, 0.0, 1e30):
        logits = torch.full((1, 64), value)
        torch.testing.assert_close(find_best(logits)[1], logits.logsumexp(dim=-1))


def test_logits_that_do_not_fill_vectors_are_refused() -> None:
    with pytest.raises(RuntimeError, match="1041 logits do not fill vectors"):
        find_best(normal(1, 1041))
