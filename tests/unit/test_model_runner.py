"""Which rows of a decode batch attend in one call."""

import pytest

from engine.model_runner import together


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
