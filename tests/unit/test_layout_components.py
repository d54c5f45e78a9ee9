import numpy as np
import pytest

from layout.components import components


def flooded(ink: np.ndarray) -> list[list[int]]:
    """Box and area of every spot, by filling one after another."""
    left = {(int(row), int(column)) for row, column in np.argwhere(ink)}
    spots = []
    while left:
        waiting = [left.pop()]
        spot = list(waiting)
        while waiting:
            row, column = waiting.pop()
            around = {(row + dy, column + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= around
            waiting += around
            spot += around
        rows, columns = zip(*spot, strict=True)
        spots.append([min(columns), min(rows), max(columns) + 1, max(rows) + 1, len(spot)])
    return sorted(spots)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4, 0.6, 0.95])
def test_spots_are_those_that_filling_finds(share: float) -> None:
    chance = np.random.default_rng(7)
    for height, width in ((1, 1), (1, 40), (40, 1), (30, 20), (25, 33)):
        ink = chance.random((height, width)) < share
        found = components(ink)
        assert sorted(np.column_stack([found.boxes, found.areas]).tolist()) == flooded(ink)


def test_a_spot_may_wind_through_all_of_a_page() -> None:
    ink = np.zeros((41, 40), dtype=bool)
    ink[::2] = True
    ink[1::4, -1] = ink[3::4, 0] = True
    assert components(ink).boxes.tolist() == [[0, 0, 40, 41]]


def test_an_empty_page_has_no_spots() -> None:
    assert components(np.zeros((5, 5), dtype=bool)).boxes.shape == (0, 4)
