import pytest

from engine.slots import Slots


def test_every_slot_has_one_owner() -> None:
    slots = Slots(3)
    assert sorted(slots.allocate() for _ in range(3)) == [0, 1, 2]
    assert not slots.can_allocate()


def test_the_lowest_free_slot_comes_first() -> None:
    slots = Slots(3)
    for _ in range(3):
        slots.allocate()
    slots.release(2)
    slots.release(0)
    assert slots.allocate() == 0


@pytest.mark.parametrize("slot", [0, 3, -1])
def test_a_slot_that_nobody_owns_cannot_be_released(slot: int) -> None:
    with pytest.raises(ValueError, match="not in use"):
        Slots(3).release(slot)
