"""The scheduler, driven without torch: sequences are real, their prompts are bare token lists."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.request import SamplingParams, TokenEvent
from engine.request import Sequence as EngineSequence
from engine.scheduler import Scheduler, Step
from engine.slots import Slots

END = frozenset({2})


@dataclass(frozen=True)
class BarePrompt:
    input_ids: list[int]
    next_position: int

    @property
    def content_ids(self) -> np.ndarray:
        return np.array(self.input_ids, dtype=np.int64)


class NoText:
    stopped: str | None = None

    def push(self, _token: int) -> str:
        return ""

    def flush(self) -> str:
        return ""


def ignore(_event: TokenEvent) -> None:
    pass


def sequence(number: int, ids: Sequence[int] = (1, 2, 3)) -> EngineSequence:
    prompt = BarePrompt(list(ids), len(ids))
    return EngineSequence(number, prompt, SamplingParams(), 10, NoText(), END, ignore, loop=None)


def scheduler_with(count: int, slots: int) -> tuple[Scheduler, list[EngineSequence]]:
    scheduler, sequences = Scheduler(Slots(slots)), [sequence(number) for number in range(count)]
    for one in sequences:
        scheduler.add(one)
    return scheduler, sequences


def read(step: Step) -> list[EngineSequence]:
    """The sequences whose prompts a step finishes, as the runner would: each gets its first token."""
    for one in step.reading:
        one.tokens.append(7)
    return step.reading


def test_a_request_runs_once_its_prompt_has_been_read() -> None:
    scheduler, (first, second) = scheduler_with(2, slots=4)
    steps = [scheduler.schedule()]
    read(steps[0])
    steps += [scheduler.schedule() for _ in range(2)]  # the second one takes more than a step
    read(steps[-1])
    steps.append(scheduler.schedule())
    assert [step.reading for step in steps] == [[first], [second], [second], []]
    assert [step.decode for step in steps] == [[], [first], [first], [first, second]]


def test_short_prompts_are_read_together_and_a_long_one_alone() -> None:
    scheduler = Scheduler(Slots(8), most_tokens=8)
    short, other, third, long = (sequence(i, range(n)) for i, n in enumerate((3, 4, 2, 50)))
    for one in (short, other, third, long):
        scheduler.add(one)
    assert [read(scheduler.schedule()) for _ in range(3)] == [[short, other], [third], [long]]


def test_requests_are_served_in_the_order_they_came() -> None:
    scheduler, sequences = scheduler_with(5, slots=5)
    assert [one for _ in range(5) for one in read(scheduler.schedule())] == sequences


def test_a_request_waits_until_a_slot_is_free() -> None:
    scheduler, (first, second) = scheduler_with(2, slots=1)
    read(scheduler.schedule())
    assert scheduler.schedule().reading == []
    scheduler.remove(first)
    assert scheduler.schedule().reading == [second]


def test_a_slot_is_given_to_nobody_while_the_group_of_its_last_owner_is_read() -> None:
    """The vision tower and the decoder go on for the others, and may write into it."""
    scheduler = Scheduler(Slots(2), most_tokens=8)
    leaving, staying, newcomer = (sequence(number) for number in range(3))
    for one in (leaving, staying, newcomer):
        scheduler.add(one)
    assert scheduler.schedule().reading == [leaving, staying]
    scheduler.remove(leaving)
    assert scheduler.schedule().reading == [staying]
    read(scheduler.schedule())
    assert scheduler.schedule().reading == [newcomer]


def test_running_requests_never_share_a_slot() -> None:
    scheduler, sequences = scheduler_with(4, slots=4)
    for _ in range(4):
        read(scheduler.schedule())
    assert sorted(one.slot for one in sequences if one.slot is not None) == [0, 1, 2, 3]


def test_a_finished_request_leaves_the_batch_and_its_slot() -> None:
    scheduler, (first, second) = scheduler_with(2, slots=2)
    read(scheduler.schedule())
    read(scheduler.schedule())
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


def test_the_next_request_continues_where_the_last_one_left_the_cache() -> None:
    """The newest token of an answer is not in the cache: no step has read it."""
    prompt, answer = list(range(20)), [101, 102, 103]
    scheduler = Scheduler(Slots(1))
    first = sequence(0, prompt)
    second = sequence(1, [*prompt, *answer, 7])
    scheduler.add(first)
    scheduler.schedule()
    first.tokens += answer
    scheduler.remove(first)
    scheduler.add(second)
    assert scheduler.schedule().reading == [second]
    assert second.reused == len(prompt) + len(answer) - 1


def test_a_prompt_that_was_not_read_leaves_nothing_in_its_slot() -> None:
    scheduler = Scheduler(Slots(1))
    first, second = (sequence(number, list(range(20))) for number in range(2))
    scheduler.add(first)
    scheduler.schedule()
    scheduler.remove(first)
    scheduler.add(second)
    scheduler.schedule()
    assert second.reused == 0


def test_a_failed_request_leaves_nothing_in_its_slot() -> None:
    scheduler = Scheduler(Slots(1))
    first, second = (sequence(number, list(range(20))) for number in range(2))
    scheduler.add(first)
    scheduler.schedule()
    first.tokens += [101, 102]
    scheduler.remove(first, failed=True)
    scheduler.add(second)
    scheduler.schedule()
    assert second.reused == 0


def test_positions_and_cache_length_follow_the_tokens() -> None:
    one = sequence(0)
    assert one.cached == 3
    one.tokens += [7, 8]
    assert one.cached == 4  # the newest token is in the cache only after the step that reads it
    assert one.position == 4
