"""The scheduler, driven without torch: sequences are real, their prompts are bare token lists."""

from dataclasses import dataclass

from engine.request import SamplingParams, Sequence, TokenEvent
from engine.scheduler import Scheduler
from engine.slots import Slots

END = frozenset({2})


@dataclass(frozen=True)
class BarePrompt:
    input_ids: list[int]
    next_position: int


class NoText:
    stopped: str | None = None

    def push(self, _token: int) -> str:
        return ""

    def flush(self) -> str:
        return ""


def ignore(_event: TokenEvent) -> None:
    pass


def sequence(number: int) -> Sequence:
    return Sequence(number, BarePrompt([1, 2, 3], 3), SamplingParams(), 10, NoText(), END, ignore, loop=None)


def scheduler_with(count: int, slots: int) -> tuple[Scheduler, list[Sequence]]:
    scheduler, sequences = Scheduler(Slots(slots)), [sequence(number) for number in range(count)]
    for one in sequences:
        scheduler.add(one)
    return scheduler, sequences


def test_a_step_prefills_one_request_beside_all_that_run() -> None:
    scheduler, (first, second, third) = scheduler_with(3, slots=4)
    steps = [scheduler.schedule() for _ in range(4)]
    assert [step.prefill for step in steps] == [first, second, third, None]
    assert [step.decode for step in steps] == [[], [first], [first, second], [first, second, third]]


def test_requests_are_served_in_the_order_they_came() -> None:
    scheduler, sequences = scheduler_with(5, slots=5)
    assert [scheduler.schedule().prefill for _ in range(5)] == sequences


def test_a_request_waits_until_a_slot_is_free() -> None:
    scheduler, (first, second) = scheduler_with(2, slots=1)
    scheduler.schedule()
    assert scheduler.schedule().prefill is None
    scheduler.remove(first)
    assert scheduler.schedule().prefill is second


def test_running_requests_never_share_a_slot() -> None:
    scheduler, sequences = scheduler_with(4, slots=4)
    for _ in range(4):
        scheduler.schedule()
    assert sorted(one.slot for one in sequences if one.slot is not None) == [0, 1, 2, 3]


def test_a_finished_request_leaves_the_batch_and_its_slot() -> None:
    scheduler, (first, second) = scheduler_with(2, slots=2)
    scheduler.schedule()
    scheduler.schedule()
    scheduler.remove(first)
    assert scheduler.schedule().decode == [second]
    assert scheduler.slots.free == 1
    assert first.slot is None


def test_a_waiting_request_can_be_taken_back() -> None:
    scheduler, (first, second) = scheduler_with(2, slots=1)
    scheduler.schedule()
    scheduler.remove(second)
    scheduler.remove(first)
    assert scheduler.idle
    assert scheduler.slots.free == 1


def test_positions_and_cache_length_follow_the_tokens() -> None:
    one = sequence(0)
    assert one.cached == 3
    one.tokens += [7, 8]
    assert one.cached == 4  # the newest token is in the cache only after the step that reads it
    assert one.position == 4
