import numpy as np
import pytest

from engine.slots import MIN_REUSE, NOTHING, Exchange, Slots


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, dtype=np.int64)


def text(start: int, length: int = 3 * MIN_REUSE) -> np.ndarray:
    """Content ids; two starts far apart have no id in common."""
    return np.arange(start, start + length, dtype=np.int64)


def slots_with(*contents: np.ndarray, dense: bool = False) -> Slots:
    """Free slots that hold `contents`, freed in this order."""
    slots = Slots(len(contents), dense=dense)
    for _ in contents:
        slots.allocate(NOTHING)
    for slot, content in enumerate(contents):
        slots.release(slot, content)
    return slots


def test_every_slot_has_one_owner() -> None:
    slots = Slots(3)
    assert sorted(slots.allocate(ids(1))[0] for _ in range(3)) == [0, 1, 2]
    assert not slots.can_allocate()


@pytest.mark.parametrize("slot", [0, 3, -1])
def test_a_slot_without_an_owner_cannot_be_released(slot: int) -> None:
    with pytest.raises(ValueError, match="not in use"):
        Slots(3).release(slot)


def test_a_prompt_gets_the_slot_with_the_longest_common_prefix() -> None:
    a, b = text(0), text(1000)
    prompt = np.concatenate((a, b))
    slots = slots_with(b, prompt[:40], prompt[:60], prompt[:50])
    assert slots.allocate(prompt) == (2, 60)
    assert slots.allocate(prompt) == (3, 50)


def test_content_after_the_common_prefix_does_not_count() -> None:
    slots = slots_with(np.concatenate((text(0), text(1000))))
    assert slots.allocate(np.concatenate((text(0), text(2000)))) == (0, len(text(0)))


def test_the_last_token_of_a_prompt_is_always_left_to_prefill() -> None:
    assert slots_with(text(0)).allocate(text(0)) == (0, len(text(0)) - 1)


def test_a_common_prefix_that_is_too_short_is_not_used() -> None:
    prompt = text(0)
    slots = slots_with(text(1000), prompt[: MIN_REUSE - 1])
    assert slots.allocate(prompt) == (0, 0)
    assert slots_with(text(1000), prompt[:MIN_REUSE]).allocate(prompt) == (1, MIN_REUSE)


def test_a_small_part_of_a_prompt_allocates_no_slot_out_of_turn() -> None:
    """All requests may begin with the same system text; each would evict the one before."""
    system = text(0, length=50)
    one, other = (np.concatenate((system, text(start, length=250))) for start in (1000, 2000))
    assert slots_with(one, NOTHING).allocate(other) == (1, 0)


def test_a_small_part_is_used_where_the_slots_turn_has_come() -> None:
    system = text(0, length=50)
    one, other = (np.concatenate((system, text(start, length=250))) for start in (1000, 2000))
    assert slots_with(one, text(3000)).allocate(other) == (0, 50)
    assert slots_with(text(3000), one).allocate(other) == (0, 0)


def test_without_a_common_prefix_an_empty_slot_comes_first() -> None:
    slots = slots_with(text(1000), NOTHING, text(2000), NOTHING)
    assert [slots.allocate(text(0))[0] for _ in range(4)] == [1, 3, 0, 2]


def test_among_equals_the_slot_freed_longest_ago_comes_first() -> None:
    slots = slots_with(text(0), text(0))
    slots.release(*slots.allocate(text(1000))[:1], text(0))  # 0, and back again
    assert slots.allocate(text(0)) == (1, len(text(0)) - 1)


def test_a_slot_in_use_loses_its_earlier_content() -> None:
    slots = slots_with(text(0))
    slot, _ = slots.allocate(text(0))
    slots.release(slot)
    assert slots.allocate(text(0)) == (0, 0)


def test_dense_slots_allocate_the_lowest_and_move_its_content() -> None:
    held, asked = text(0, length=60), text(1000, length=50)
    slots = slots_with(held, asked, dense=True)
    assert slots.allocate(asked) == (0, 49)
    assert slots.exchanges == [Exchange(0, 1, 60)]  # the longer of their useful contents
    assert slots.allocate(held) == (1, 59)  # the slot that it was moved to


def test_dense_slots_move_nothing_where_the_lowest_is_empty() -> None:
    slots = slots_with(text(0), NOTHING, dense=True)
    slots.release(slots.allocate(text(2000))[0])  # 0, whose content was moved to 1
    slots.exchanges.clear()
    assert slots.allocate(text(3000)) == (0, 0)
    assert slots.exchanges == []


def test_moved_content_keeps_its_turn() -> None:
    """Its age counts from when its first slot was freed."""
    slots = slots_with(text(0), text(1000), text(2000), dense=True)
    assert slots.allocate(text(2000)) == (0, len(text(0)) - 1)
    slots.release(0, text(2000))
    slot, _ = slots.allocate(text(3000))  # evicts the content freed longest ago, which is in 2 now
    slots.release(slot, text(3000))
    assert slots.allocate(text(1000))[1] == len(text(1000)) - 1
