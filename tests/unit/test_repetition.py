import pytest

from engine.repetition import RepetitionDetector, RepetitionLimits


def found(tokens: list[int], **limits: int) -> tuple[int, int] | None:
    """The number of tokens after which a loop is found, and how many of them precede its repeats."""
    detector = RepetitionDetector(RepetitionLimits(**limits))
    for count, token in enumerate(tokens, start=1):
        unrepeated = detector.push(token)
        if unrepeated is not None:
            return count, unrepeated
    return None


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_a_pattern_of_any_size_is_found_at_its_last_copy_and_one_is_kept(size: int) -> None:
    before, pattern = [900, 901, 902], list(range(size))
    assert found(before + pattern * 60) == (3 + size * 50, 3 + size)


def test_a_pattern_over_the_maximum_size_is_not_found() -> None:
    assert found(list(range(9)) * 60, max_pattern_size=8) is None


def test_a_pattern_under_the_minimum_size_counts_as_a_longer_one() -> None:
    assert found([5] * 60, min_pattern_size=3, min_count=4) == (12, 3)


def test_an_occasional_repeat_is_no_loop() -> None:
    assert found([token for number in range(200) for token in (7, 7, 7, 1000 + number)]) is None


def test_one_copy_fewer_than_the_limit_is_no_loop() -> None:
    assert found([1, 2, 3] * 4, min_count=5) is None
    assert found([1, 2, 3] * 5, min_count=5) == (15, 3)
